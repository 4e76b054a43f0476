"""Payloads with right checksums whose lengths, offsets and codes lead elsewhere are refused before Arrow follows them, in both stores."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_hostile_vaults import edited, put

import tablevault_pd as tv
from tablevault_pd.store.arango.payloads import decoded
from tablevault_pd.store.engine import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 50
SEVENS = np.arange(0, 70, 7, dtype="i4")
TWOS = np.arange(0, 20, 2, dtype="i4")
TABLE = pa.table(
    {
        "text": pa.array(["letters"] * ROWS),
        "list": pa.array([[3, 1]] * ROWS, pa.list_(pa.int64())),
        "money": pa.array([77_770_001] * ROWS, pa.int64()).cast(pa.decimal128(38, 0)),
        "colour": pa.array(["red", "blue"] * (ROWS // 2)).dictionary_encode(),
    }
)
PLAIN = TABLE.drop_columns("colour")


def array(numbers: np.ndarray, at: int, new: int) -> Callable[[bytes], bytes]:
    changed = numbers.copy()
    changed[at] = new
    return lambda message: message.replace(numbers.tobytes(), changed.tobytes())


def length(new: int) -> Callable[[bytes], bytes]:
    return lambda message: message.replace(struct.pack("<q", ROWS), struct.pack("<q", new))


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "ends that lead out": array(SEVENS, 9, 2**30),
    "ends below zero": array(SEVENS, 1, -7),
    "ends that fall": array(SEVENS, 3, 2),
    "lists that lead out": array(TWOS, 4, 2**31 - 1),
    "lists that fall": array(TWOS, 4, 1),
    "no UTF-8": lambda message: message.replace(b"lettersletters", b"\xff\xfe\xed\xa0\x80leletters", 1),
    "too many digits": lambda message: message.replace((77_770_001).to_bytes(16, "little"), b"\xff" * 15 + b"\x7f"),
    "a length below zero": length(-1),
    "a length beyond all": length(1 << 60),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORGED)
def test_a_payload_of_a_server_is_refused(kind: str) -> None:
    codec, message = payloads.encode(PLAIN)
    forged = FORGED[kind](message.to_pybytes())
    assert forged != message.to_pybytes()
    data = pa.Codec("zstd").compress(forged, asbytes=True)
    document = {
        "key": "k",
        "codec": codec,
        "bytes": len(forged),
        "data": base64.b64encode(data).decode(),
        "checksum": str(payloads.checksum_of(data, 5 ^ 3)),
    }
    with pytest.raises((ValueError, OSError, pa.ArrowException)):
        decoded(document, PLAIN.schema, 5, 2)


@pytest.mark.parametrize("kind", [*FORGED, "codes of no category", "codes below zero"])
def test_several_payloads_read_as_one_are_refused(kind: str) -> None:
    codes = np.array([0, 1] * 5, "i4")
    new = {"codes of no category": 100, "codes below zero": -100}.get(kind)
    if new is None:
        message = PLAIN.combine_chunks().to_batches()[0].serialize().to_pybytes()
        forged = FORGED[kind](message)
        assert forged != message
        with pytest.raises((ValueError, OSError, pa.ArrowException)):
            payloads.decode_batches([message, forged], PLAIN.schema)
        return
    codec, stream = payloads.encode(TABLE)
    forged = array(codes, 2, new)(stream.to_pybytes())
    assert forged != stream.to_pybytes()
    with pytest.raises((ValueError, pa.ArrowException)):
        payloads.decode(codec, pa.py_buffer(forged), TABLE.schema)


NUMBERS = pa.table({
    "a": pa.array(range(ROWS), pa.int64()),
    "b": pa.array(np.arange(ROWS) / 4),
    "c": pa.array(range(ROWS), pa.int8()),
    "t": pa.array(range(ROWS), pa.timestamp("us", "UTC")),
})  # fmt: skip


def message_of(table: pa.Table) -> bytes:
    return table.combine_chunks().to_batches()[0].serialize().to_pybytes()


@pytest.mark.parametrize("new", [-1, 1 << 60, ROWS + 1, 3])
def test_alike_payloads_of_numbers_are_refused_where_their_length_is_forged(new: int) -> None:
    """Three rows can be read of the bytes of fifty: how many there are to be is compared with the catalogue."""
    forged = length(new)(message_of(NUMBERS))
    assert forged != message_of(NUMBERS)
    for messages in ([forged, forged], [message_of(NUMBERS), forged]):
        try:
            table = payloads.decode_batches(messages, NUMBERS.schema)
        except (ValueError, OSError, pa.ArrowException):
            continue
        assert new == 3
        assert table.num_rows in (6, ROWS + 3)


def test_several_payloads_are_read_as_each_by_itself() -> None:
    """Numbers of one length are cut out of all messages at once: also beside missing ones, truth values, texts, other lengths."""
    with_missing = NUMBERS.set_column(1, "b", pa.array([None, 0.5] * (ROWS // 2), pa.float64()))
    bools = NUMBERS.set_column(2, "c", pa.array([True, False] * (ROWS // 2)))
    texts = NUMBERS.set_column(2, "c", pa.array([f"text {number}" for number in range(ROWS)]))
    for table in (NUMBERS, with_missing, bools, texts):
        for cuts in ([0, 25, 50], range(ROWS + 1), [0, 1, 4, 50], [0, 50], [0, 2, 2, 4, 6]):
            parts = [table.slice(first, stop - first) for first, stop in pairwise(cuts)]
            messages = [
                part.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
                for part in parts
            ]
            read = payloads.decode_batches(
                [batch.serialize().to_pybytes() for [batch] in messages], table.schema
            )
            assert read.equals(pa.concat_tables(parts))
            assert all(column.num_chunks <= 1 for column in read.columns)


def test_other_columns_than_the_catalogue_says_are_refused() -> None:
    codec, stream = payloads.encode(TABLE)
    for other in (TABLE.schema.set(0, pa.field("text", pa.binary())), TABLE.schema.with_metadata({"a": "b"})):
        with pytest.raises(ValueError, match="other columns"):
            payloads.decode(codec, stream, other)
    assert payloads.decode(codec, stream, TABLE.schema).equals(TABLE)


@pytest.mark.parametrize("code", [2, -2, 2**31 - 1])
@pytest.mark.parametrize("kind", ["interval", "ordered"])
def test_codes_of_categories_that_stand_in_the_schema_are_looked_at(tmp_path, kind: str, code: int) -> None:
    numbers = pd.Series([1, 9] * 25)
    labels = {"interval": None, "ordered": ["low", "high"]}[kind]
    with tv.connect(tmp_path / "v", capture="none", session=False) as vault:
        vault.save("forms", pd.DataFrame({"size": pd.cut(numbers, [0, 5, 10], labels=labels)}))
    edited("forms", put(np.array([0, 1] * 5, "i4"), 3, [code]))(tmp_path / "v")
    with tv.connect(tmp_path / "v", capture="none", session=False) as vault, pytest.raises(tv.VaultCorrupt):
        vault.read("forms")
