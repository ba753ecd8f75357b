"""Damaged files, made from whole ones by a seed: what disks, editors, mail and half a download do to them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from functools import cache

import polars as pl
import pyarrow.parquet as pq

KINDS = ("csv", "tsv", "jsonl", "parquet")
TEXTS = ("plain words", 'with "quotes", commas; and\ttabs', "two\nlines", "é 🥞 \u202eעברית\u200b", "0", "{{ 7*7 }}")


def rows() -> pl.DataFrame:
    """Forty rows with a text, a label, numbers, truth values, gaps and what CSV must quote."""
    return pl.DataFrame(
        {
            "text": [f"{TEXTS[n % len(TEXTS)]} {n}" for n in range(40)],
            "label": [("a", "b", None)[n % 3] for n in range(40)],
            "number": list(range(40)),
            "share": [n / 7 for n in range(40)],
            "truth": [n % 2 == 0 for n in range(40)],
        }
    )


@cache
def originals(kind: str) -> tuple[bytes, ...]:
    """Whole files of one kind, written in several ways."""
    frame = rows()
    if kind in ("csv", "tsv"):
        separator = "," if kind == "csv" else "\t"
        texts = []
        for ending, quoting in (("\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_NONNUMERIC)):
            file = io.StringIO()
            writer = csv.writer(file, delimiter=separator, lineterminator=ending, quoting=quoting)
            writer.writerow(frame.columns)
            writer.writerows(frame.rows())
            texts.append(file.getvalue().encode())
        return (*texts, b"\xef\xbb\xbf" + texts[0])
    if kind == "jsonl":
        nested = [row | {"more": {"n": row["number"], "list": [row["text"]]}} for row in frame.to_dicts()]
        escaped = "".join(json.dumps(row) + "\r\n" for row in frame.to_dicts())
        return (frame.write_ndjson().encode(), escaped.encode(), "\n".join(map(json.dumps, nested)).encode())
    files = []
    nested_frame = frame.with_columns(pl.concat_list("number", "number").alias("list"), pl.struct("share").alias("s"))
    for table, options in (
        (frame, {}),
        (frame, {"compression": "none", "use_dictionary": False, "write_page_checksum": True}),
        (nested_frame, {"compression": "gzip", "row_group_size": 10, "data_page_version": "2.0"}),
    ):
        buffer = io.BytesIO()
        pq.write_table(table.to_arrow(), buffer, **options)
        files.append(buffer.getvalue())
    buffer = io.BytesIO()
    nested_frame.write_parquet(buffer)
    return (*files, buffer.getvalue())


def _place(random: random.Random, data: bytes | bytearray) -> int:
    """A place in the file: anywhere, or near its head or its foot."""
    size, near = len(data), random.choice((None, "head", "foot"))
    if near is None or size < 2:
        return random.randrange(size)
    offset = random.randrange(min(size, 400))
    return offset if near == "head" else size - 1 - offset


def flip(random: random.Random, data: bytearray, other: bytes) -> bytes:
    for _ in range(random.choice((1, 1, 4, 30))):
        data[_place(random, data)] ^= 1 << random.randrange(8)
    return data


def overwrite(random: random.Random, data: bytearray, other: bytes) -> bytes:
    for _ in range(random.choice((1, 3, 20))):
        data[_place(random, data)] = random.choice((0, 0x0A, 0x0D, 0x22, 0x2C, 0x5C, 0x7B, 0xFF, random.randrange(256)))
    return data


def cut(random: random.Random, data: bytearray, other: bytes) -> bytes:
    return data[: _place(random, data)] if random.random() < 0.7 else data[_place(random, data) :]


def delete(random: random.Random, data: bytearray, other: bytes) -> bytes:
    start = _place(random, data)
    del data[start : start + random.choice((1, 1, 2, 10, 200))]
    return data


def insert(random: random.Random, data: bytearray, other: bytes) -> bytes:
    start = _place(random, data)
    data[start:start] = random.choice(
        (b'"', b"\n", b",", b"\r", b"\0", b"\\", b"[", random.randbytes(random.choice((1, 8, 90))))
    )
    return data


def duplicate(random: random.Random, data: bytearray, other: bytes) -> bytes:
    start, to = _place(random, data), _place(random, data)
    data[to:to] = data[start : start + random.choice((1, 20, 300))]
    return data


def swap(random: random.Random, data: bytearray, other: bytes) -> bytes:
    size = random.choice((1, 20, 200))
    one, two = sorted((_place(random, data), _place(random, data)))
    one_end, two_end = min(one + size, two), min(two + size, len(data))
    return data[:one] + data[two:two_end] + data[one_end:two] + data[one:one_end] + data[two_end:]


def splice(random: random.Random, data: bytearray, other: bytes) -> bytes:
    return data[: _place(random, data)] + other[_place(random, other) :]


def append(random: random.Random, data: bytearray, other: bytes) -> bytes:
    return data + other if random.random() < 0.5 else other + data


def recode(random: random.Random, data: bytearray, other: bytes) -> bytes:
    text = bytes(data).decode("utf-8", errors="surrogateescape")
    code = random.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp500", "utf-7", "shift-jis"))
    return text.encode(code, errors=random.choice(("ignore", "replace", "backslashreplace")))


def numbers(random: random.Random, data: bytearray, other: bytes) -> bytes:
    """Digits become other digits, many of them: counts, offsets, sizes."""
    start = _place(random, data)
    data[start : start + 9] = random.choice((b"\xff" * 9, b"\x80" * 9, b"9" * 9, b"\0" * 9, b"1e999,-1e"))
    return data


MUTATIONS: tuple[Callable[[random.Random, bytearray, bytes], bytes], ...] = (
    flip, overwrite, cut, delete, insert, duplicate, swap, splice, append, recode, numbers,
)  # fmt: skip


def damaged(kind: str, seed: int) -> tuple[str, bytes]:
    """Return a damaged file of a kind, and what was done to it."""
    chance = random.Random(f"{kind}/{seed}")
    data = chance.choice(originals(kind))
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        mutation = chance.choice(MUTATIONS)
        other = chance.choice(originals(chance.choice((kind, kind, *KINDS))))
        data = bytes(mutation(chance, bytearray(data), other))
        done.append(mutation.__name__)
    return "+".join(done), data
