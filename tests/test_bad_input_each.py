"""Bad input, one by one, to one vault of each store: refused by an error that names it before anything is written, or kept as it was."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from stores import BOTH, new_place

import tablevault_pd as tv
from tablevault_pd.filters.names import UnknownColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module", params=BOTH)
def vault(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tv.Vault]:
    with (
        new_place(request.param, tmp_path_factory.mktemp("each")) as place,
        tv.connect(place.address, session=False, capture="none") as vault,
    ):
        vault.save(
            "rows",
            pd.DataFrame({"n": [1, 2], "word": ["a", "b"], "t": pd.to_datetime(["2020", "2021"], utc=True)}),
        )
        vault.save("vectors", pd.DataFrame({"vec": [[1.0, 0.0], [0.0, 1.0]]}))
        yield vault
        assert "new" not in vault
        assert vault.sessions().empty
        assert len(vault.versions("rows")) == len(vault.versions("vectors")) == 1
        assert vault.check().empty


def nested(levels: int, *, dicts: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"in": value} if dicts else [value]
    return value


CYCLIC: dict[str, Any] = {}
CYCLIC["me"] = [CYCLIC]
ARRAY = np.empty(1, object)
ARRAY[0] = ARRAY
ODD = {
    "object": object(),
    "function": len,
    "class": Path,
    "frame": pd.DataFrame({"a": [1]}),
    "series": pd.Series([1]),
}


def save(cell: Any) -> Callable[[tv.Vault], object]:
    cells = np.empty(2, object)
    cells[1] = cell
    return lambda vault: vault.save("new", pd.DataFrame({"fine": [1, 2], "cell": pd.Series(cells)}))


def named(name: Any) -> Callable[[tv.Vault], object]:
    return lambda vault: vault.save(name, {"n": 1})


def filtered(filters: Any) -> Callable[[tv.Vault], object]:
    return lambda vault: vault.read("rows", filters=filters)


def near(vector: Any) -> Callable[[tv.Vault], object]:
    return lambda vault: vault.search(near=vector, lists="vectors")


def appended(frame: pd.DataFrame, **options: Any) -> Callable[[tv.Vault], object]:
    return lambda vault: vault.append("rows", frame, **options)


ROW = pd.DataFrame({"n": [3], "word": ["c"], "t": pd.to_datetime(["2022"], utc=True)})
#: The call, the error, and words of its message.
REFUSED: dict[str, tuple[Callable[[tv.Vault], object], type[Exception], str]] = {
    "name, empty": (named(""), tv.InvalidName, "empty"),
    "name, spaces": (named("   "), tv.InvalidName, "blank"),
    "name, 201 bytes": (named("é" * 100 + "x"), tv.InvalidName, "201 bytes"),
    "name, control": (named("a\x01"), tv.InvalidName, r"U\+0001"),
    "name, NUL": (named("a\0b"), tv.InvalidName, r"U\+0000"),
    "name, surrogate": (named("\ud800"), tv.InvalidName, "surrogate"),
    "name, right to left": (named("a\u202eb"), tv.InvalidName, r"U\+202E"),
    "name, zero width": (named("a\u200bb"), tv.InvalidName, r"U\+200B"),
    "name, at": (named("@@coll"), tv.InvalidName, "@"),
    **{f"name, {kind}": (named(name), tv.InvalidType, f"not {kind}") for kind, name in
       {"int": 3, "NoneType": None, "bytes": b"a", "PosixPath": Path("a"), "tuple": ("a",)}.items()},
    "columns of one name": (lambda vault: vault.save("new", pd.DataFrame([[1, 2]], columns=["a", "a"])), tv.InvalidInput, "'a'"),
    **{f"cell, {kind}": (save(cell), tv.UnsupportedColumn, "'cell', row 1") for kind, cell in ODD.items()},
    "cell, 101 lists": (save(nested(102)), tv.UnsupportedColumn, "row 1.*100 levels"),
    "cell, 101 dicts": (save(nested(102, dicts=True)), tv.UnsupportedColumn, "row 1.*100 levels"),
    "cell, 100,000 lists": (save(nested(100_000)), tv.UnsupportedColumn, "row 1.*100 levels"),
    "cell, in itself": (save(CYCLIC), tv.UnsupportedColumn, "contains itself"),
    "cell, array in itself": (save(ARRAY), tv.UnsupportedColumn, "contains itself"),
    "row, in itself": (lambda vault: vault.append("new", {"fine": 1, "cell": CYCLIC}), tv.UnsupportedColumn, "contains itself"),
    "rows, in themselves": (lambda vault: vault.save("new", [{"cell": CYCLIC}]), tv.UnsupportedColumn, "contains itself"),
    "complex": (lambda vault: vault.save("new", pd.DataFrame({"a": [1j]})), tv.UnsupportedColumn, "complex128"),
    "sparse": (lambda vault: vault.save("new", pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])})), tv.UnsupportedColumn, "Sparse"),
    "parameter, in itself": (lambda vault: vault.session("new", params=CYCLIC), tv.InvalidInput, "contains itself"),
    "parameter, deep": (lambda vault: vault.session("new", params={"p": nested(5000)}), tv.InvalidInput, "100 levels"),
    "tags, in themselves": (lambda vault: vault.save("new", {"a": 1}, tags=CYCLIC), tv.InvalidType, "tags="),
    "inputs, in themselves": (lambda vault: vault.save("new", {"a": 1}, inputs=[[CYCLIC]]), tv.VaultError, ""),
    "append, no zone": (appended(ROW.assign(t=pd.to_datetime(["2022"]))), tv.SchemaMismatch, "'t'.*time zone"),
    "append, text for number": (appended(ROW.assign(n="x")), tv.SchemaMismatch, "'n'"),
    "append, strict, float": (appended(ROW.assign(n=0.5), schema="strict"), tv.SchemaMismatch, "'n'.*int64.*float64"),
    "append, strict, missing": (appended(ROW[["n"]], schema="strict"), tv.SchemaMismatch, "(?s)'word': missing.*'t': missing"),
    "append, strict, extra": (appended(ROW.assign(q=1), schema="strict"), tv.SchemaMismatch, "'q': not in the list"),
    "filter, no column": (filtered("zz == 1"), UnknownColumn, "'zz'"),
    "filter, no operator": (filtered("n === 1"), tv.InvalidFilter, "character"),
    "filter, no type": (filtered("n > 'x'"), tv.InvalidFilter, "n > 'x'"),
    "filter, deep": (filtered("not " * 5000 + "n == 1"), tv.InvalidFilter, "deep"),
    "filter, digits and or": (filtered("n == 1or word == 'a'"), tv.InvalidFilter, "1or"),
    "filter, pattern": (filtered("word.str.contains('(')"), tv.InvalidFilter, "contains"),
    "filter, tuple": (filtered([("n", "~~", 1)]), tv.InvalidFilter, "operator"),
    "filter, number": (filtered(7), tv.InvalidFilter, "7"),
    "filter, in itself": (filtered(CYCLIC), tv.InvalidFilter, "filter"),
    "search, nothing": (lambda vault: vault.search(""), tv.InvalidInput, "blank"),
    "near, length": (near([1.0]), tv.DimensionMismatch, "1 numbers"),
    "near, NaN": (near([np.nan, 1.0]), tv.InvalidInput, "NaN"),
    "near, None": (near([None, 1.0]), tv.InvalidInput, "NaN"),
    "near, zeros": (near([0, 0]), tv.InvalidInput, "zeros"),
    "near, empty": (near([]), tv.InvalidInput, "shape"),
    "near, texts": (near(["a", "b"]), tv.InvalidInput, "numbers"),
    "near, in itself": (near(CYCLIC), tv.InvalidInput, "numbers"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_by_name_before_anything_is_written(vault: tv.Vault, kind: str) -> None:
    call, error, words = REFUSED[kind]
    with warnings.catch_warnings(), pytest.raises(error, match=words) as raised:
        warnings.simplefilter("error")
        call(vault)
    assert isinstance(raised.value, tv.VaultError)
    assert str(raised.value).isprintable() or "\n- column" in str(raised.value)
    assert len(str(raised.value)) < 700


#: What is odd, and no mistake: as it was.
KEPT: dict[str, pd.DataFrame] = {
    "texts with NUL": pd.DataFrame({"word": ["a\0b", "\0"]}),
    "a cell of megabytes": pd.DataFrame({"word": ["x" * 3_000_000]}),
    "a hundred lists": pd.DataFrame({"cell": [nested(100)]}),
    "two thousand columns": pd.DataFrame([range(2_100)], columns=[f"c{n}" for n in range(2_100)]),
    "a long label": pd.DataFrame({"x" * 100_000: [1]}),
    "labels of databases": pd.DataFrame([[1, 2, 3]], columns=["_key", "_tv_row", "a.b`@"]),
    "vectors of odd lengths": pd.DataFrame({"vec": [[1.0], [1.0, 2.0]]}),
    "vectors that are none": pd.DataFrame({"vec": [[], []]}),
}
#: Names that are odd, and that another name looks like.
NAMES = ["a/b\\c:d", "..", "CON", 'x"; DROP TABLE lists; --', "`b` %s ${x}", "ß", "ss", "SS"]


def test_what_is_odd_is_kept_as_it_was(vault: tv.Vault) -> None:
    """Under names that are odd, too; names that look alike are those of different lists."""
    for name, frame in zip(NAMES, KEPT.values(), strict=True):
        vault.save(name, frame)
    assert set(NAMES) <= set(vault.lists()["name"])
    for name, frame in zip(NAMES, KEPT.values(), strict=True):
        pd.testing.assert_frame_equal(vault.read(name), frame, check_names=False)


#: Kinds of bad input, and where each is tried: here, as a key of `REFUSED` or `KEPT` or a test, or in another file.
EACH = {
    "a name that is empty, blank, long, or has control characters": "name, control",
    "a name with half a surrogate pair": "name, surrogate",
    "a name with marks of direction or of no width": "name, right to left",
    "names that differ by case alone": "::test_what_is_odd_is_kept_as_it_was",
    "a name that is a command elsewhere": "test_names.py::test_hostile_names_are_only_values",
    "a name that is no text": "name, bytes",
    "columns of one name": "columns of one name",
    "labels of columns that are no texts": "test_doors.py::test_a_frame_is_read_as_it_was_saved",
    "labels that databases reserve": "labels of databases",
    "cells of any objects": "cell, object",
    "complex numbers, sparse columns, integers of more than 64 bits": "sparse",
    "frames without rows, and columns of missing values": "test_doors.py::test_a_frame_is_read_as_it_was_saved",
    "columns that do not fit those of the list": "append, strict, missing",
    "scalars of NumPy": "test_session_lookup.py::test_params_of_numpy_are_plain_and_what_never_ends_is_refused",
    "NaN where numbers are logged": "test_session.py::test_values_that_are_no_numbers_are_refused_where_they_are_logged",
    "NUL inside of a text": "texts with NUL",
    "vectors of another length, or of no numbers": "near, None",
    "large cells, many columns, deep nesting": "cell, 100,000 lists",
    "times with and without a zone": "append, no zone",
    "filters that are wrong, deep or long": "filter, deep",
    "texts to search for": "test_search.py::test_no_text_breaks_the_syntax",
    "patterns": "filter, pattern",
    "a place that is a file, or without rights": "test_damage.py::test_a_folder_that_may_not_be_looked_into",
    "a place on a shared disk": "test_connect.py::test_a_disk_that_machines_share_is_refused_for_one_vault_of_all",
    "links, pipes, sockets, devices": "test_bad_places.py::test_what_is_no_plain_file_is_never_opened",
    "a file that grew, shrank or was replaced": "torture/test_mutations.py::test_no_change_of_bytes_becomes_rows",
    "a catalogue of other tables": "test_damage.py::test_a_catalogue_with_other_tables_is_refused",
    "a catalogue that names files outside": "test_damage.py::test_paths_in_the_catalogue_cannot_leave_the_vault",
    "an Arrow bomb": "test_hostile_vaults.py::test_a_crafted_vault_does_nothing_and_ends",
    "unknown types and odd metadata": "test_hostile_vaults.py::test_a_crafted_vault_does_nothing_and_ends",
    "any error of Arrow": "test_hostile_vaults.py::test_any_bytes_with_a_right_checksum_are_rows_or_an_error",
    "a second SQLite library": "test_bad_places.py::test_reading_the_catalogue_of_an_open_vault_loses_nothing_in_silence",
    "files that others read": "test_bad_places.py::test_reading_the_catalogue_of_an_open_vault_loses_nothing_in_silence",
    "attrs of any kind": "test_bad_places.py::test_attrs_hold_up_no_save_and_name_no_wrong_parents",
    "code with passwords": "test_session_exits.py::test_secrets_never_reach_the_vault",
    "addresses with passwords": "test_canary.py::test_no_password_comes_out",
    "errors of the driver": "test_arango.py::test_the_password_is_shown_nowhere",
    "a password over an open line": "test_arango.py::test_a_password_over_an_open_line_is_warned_of",
    "names that are no keys of a database": "test_names.py::test_hostile_names_are_only_values",
    "labels with dots, quotes and at signs": "labels of databases",
    "integers beyond 53 bits, decimals, bytes": "test_store.py::test_every_type_comes_back_exactly",
    "another time of day": "test_clocks.py::test_order_and_cleaning_follow_the_versions",
    "a process number given away": "test_session_context.py::test_a_process_number_that_was_given_to_another_process_is_gone",
    "Ctrl-C in any call": "torture/test_interrupts.py::test_interrupts",
    "a vault that is closed": "test_bad_input.py::test_a_closed_vault_says_so",
    "rows that are their own parents": "test_hostile_vaults.py::test_a_crafted_vault_does_nothing_and_ends",
    "a vault removed while open": "test_bad_places.py::test_what_is_removed_under_an_open_vault_is_made_anew_or_told",
    "two copies of a vault that were mixed": "test_bad_places.py::test_two_copies_of_a_vault_that_a_service_has_mixed_are_told",
}


def test_each_kind_of_bad_input_is_tried() -> None:
    tests = {
        what: where.split("::") for what, where in EACH.items() if where not in REFUSED.keys() | KEPT.keys()
    }
    for what, (file, test) in tests.items():
        text = (Path(__file__).parent / (file or Path(__file__).name)).read_text(encoding="utf-8")
        assert f"def {test}(" in text, what
