"""Keys and rows in columns of mixed objects: 1, 1.0, True and "1" are equal to none but themselves, on both stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

KEYS: list[Any] = [1, 1.0, True, "1", 0.0, False, 2**70, "True"]


def mixed(keys: list[Any], numbers: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"k": pd.Series(keys, dtype=object), "n": numbers})


def shown(frame: pd.DataFrame) -> dict[str, int]:
    """The numbers by the keys, as Python tells these apart."""
    return {
        f"{type(key).__name__} {key!r}": int(number)
        for key, number in zip(frame["k"], frame["n"], strict=True)
    }


def expected(numbers: list[int], keys: list[Any] = KEYS) -> dict[str, int]:
    return {f"{type(key).__name__} {key!r}": number for key, number in zip(keys, numbers, strict=True)}


def test_rows_by_key_and_their_histories(vault):
    numbers = list(range(len(KEYS)))
    vault.upsert("rows", mixed(KEYS, numbers), key="k")
    assert shown(vault.read("rows")) == expected(numbers)
    vault.upsert("rows", mixed(KEYS[::-1], [number + 10 for number in numbers[::-1]]))
    assert shown(vault.read("rows")) == expected([number + 10 for number in numbers])
    for key, number in zip(KEYS, numbers, strict=True):
        states = vault.history("rows", key=key)
        assert [type(cell) for cell in states["k"]] == [type(key)] * 2
        assert states["n"].tolist() == [number, number + 10]
    vault.upsert("rows", pd.DataFrame({"k": [1, 7], "n": [20, 27]}))  # a column of integers alone
    assert shown(vault.read("rows")) == expected(
        [20, *(number + 10 for number in numbers[1:]), 27], [*KEYS, 7]
    )
    with pytest.raises(tv.DuplicateKey):
        vault.upsert("rows", mixed([1, True, 1], [0, 0, 0]))


def test_a_key_of_integers_grows_to_objects(vault):
    vault.upsert("rows", pd.DataFrame({"k": [1, 2], "n": [1, 2]}), key="k")
    vault.upsert("rows", mixed([1, "1", 2.5], [11, 12, 13]))
    assert shown(vault.read("rows")) == {"int 1": 11, "int 2": 2, "str '1'": 12, "float 2.5": 13}
    assert vault.history("rows", key=1)["n"].tolist() == [1, 11]
    assert vault.history("rows", key="1")["n"].tolist() == [12]


@pytest.mark.parametrize("key", ["k", None])
def test_claims_and_results_of_map_follow_their_rows(vault, key):
    options: Any = {} if key is None else {"key": key}
    numbers = list(range(len(KEYS)))
    vault.save("jobs", mixed(KEYS, numbers), **options)
    mine = vault.claim("jobs", k=2)
    assert [type(cell) for cell in mine["k"]] == [int, float]
    vault.finish(mine)
    vault.save("jobs", mixed(KEYS[::-1], numbers[::-1]), **options)
    assert vault.claims("jobs")["state"].tolist() == ["open"] * 6 + ["done"] * 2
    calls: list[Any] = []

    def name(row: Any) -> dict[str, str]:
        calls.append(row.k)
        return {"name": f"{type(row.k).__name__} {row.k!r}"}

    names = vault.map("names", name, "jobs", columns=["k"], version="1").read()["name"].tolist()
    assert names == list(expected(numbers[::-1], KEYS[::-1]))
    vault.save("jobs", mixed([True, 1, 3], [2, 0, 9]), **options)
    calls.clear()
    names = vault.map("names", name, "jobs", columns=["k"], version="1").read()["name"].tolist()
    assert (sorted(names), calls) == (["bool True", "int 1", "int 3"], [3])


def test_numpy_scalars_are_the_keys_that_they_are_equal_to(vault):
    scalars = [np.int64(1), np.float32(1.0), np.bool_(True), np.str_("1"), -0.0]
    vault.upsert("rows", mixed(KEYS[:5], [0, 1, 2, 3, 4]), key="k")
    vault.finish(vault.claim("rows", k=4))
    vault.upsert("rows", mixed(scalars, [10, 11, 12, 13, 14]))
    read = vault.read("rows")
    assert read["n"].tolist() == [10, 11, 12, 13, 14]
    assert list(map(type, read["k"])) == list(map(type, scalars))  # each is stored as it was given
    assert vault.history("rows", key=1)["n"].tolist() == [0, 10]
    assert vault.history("rows", key=np.int8(1))["n"].tolist() == [0, 10]
    assert vault.claims("rows")["state"].tolist() == ["done"] * 4 + ["open"]
    with pytest.raises(tv.DuplicateKey, match="rows 0, 1"):
        vault.save("others", mixed([np.int64(1), 1, "x"], [0, 0, 0]), key="k")
    date = np.datetime64("2020-01-01T00:00:00.123456789")  # no Python value is equal to it
    vault.upsert("rows", mixed([date, "x"], [20, 21]))
    vault.upsert("rows", mixed([date, "x"], [30, 31]))
    assert vault.read("rows")["n"].tolist() == [10, 11, 12, 13, 14, 30, 31]


@pytest.mark.parametrize(
    "keys", [[3, 1, "x"], [3.0, 1.0, 0.5], ["1", 3, True]], ids=["objects", "floats", "others"]
)
def test_claims_follow_a_key_whose_dtype_a_save_widens(vault, keys):
    vault.save("jobs", pd.DataFrame({"k": [1, 2, 3], "n": 0}), key="k")
    vault.finish(vault.claim("jobs", k=1))
    held = vault.claim("jobs", k=2)
    vault.save("jobs", pd.DataFrame({"k": keys, "n": 1}), key="k")
    states = {1: "done", 3: "held"}
    assert vault.claims("jobs")["state"].tolist() == [
        "open" if isinstance(key, bool | str) else states.get(key, "open") for key in keys
    ]
    vault.finish(held.iloc[1:])
