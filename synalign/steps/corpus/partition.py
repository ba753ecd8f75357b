"""export into a folder: a Parquet file for each value of a column, in subfolders named `label=refund`, as in Hive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from synalign.errors import InputError, UsageError
from synalign.steps.corpus.export import chosen, write_card

#: The name of every file in such a folder, by which a folder is known that may be replaced.
FILE = "synalign-0.parquet"
#: What stands for null in the name of a folder; DuckDB, Arrow and polars agree on it.
NULL = "__HIVE_DEFAULT_PARTITION__"
_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST = 255


def write(
    frame: pl.DataFrame,
    path: Path,
    facts: Mapping[str, Any],
    keys: Sequence[str],
    columns: Sequence[str] | None = None,
) -> tuple[Path, Path]:
    """Write records to the folder `path`, partitioned by `keys`, and a dataset card beside it; return both paths.

    The folder is made under a temporary name and put in place whole, with the rows of each file in the order that they
    have in the frame. A folder that this wrote before is replaced.

    Raises:
        UsageError: if a column is not known, nothing is left beside the keys, or something else is at `path`.
        InputError: if a value cannot be the name of a folder, or the disk refuses. What was at `path` then stays.
    """
    shown = _columns(frame, keys, columns)
    _require_own(path)
    draft, old = (path.with_name(f".{path.name}.{word}") for word in ("partial", "old"))
    try:
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)
        parts = shown.partition_by(keys, as_dict=True, include_key=False, maintain_order=True)
        for values, part in parts.items():
            folder = draft.joinpath(*(_folder(key, value) for key, value in zip(keys, values, strict=True)))
            folder.mkdir(parents=True)
            part.write_parquet(folder / FILE)
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(draft, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
        card = write_card(frame, shown.schema, path, facts)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} could not be written: {error}.") from error
    finally:
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return path, card


def _columns(frame: pl.DataFrame, keys: Sequence[str], columns: Sequence[str] | None) -> pl.DataFrame:
    keyed = chosen(frame, keys)
    for name, dtype in keyed.schema.items():
        if not (dtype == pl.String or dtype == pl.Boolean or dtype == pl.Date or dtype.is_integer()):
            raise UsageError(
                f"Records cannot be partitioned by {name}, which holds {dtype}: a column of text, integers, "
                "booleans or dates can name folders."
            )
    listed = frame.columns if columns is None else chosen(frame, columns).columns
    rest = [name for name in listed if name not in keys]
    if not rest:
        raise UsageError(f"Beside {', '.join(keys)} no column is left to write. Give more in columns.")
    return frame.select(*keys, *rest)


def _folder(key: str, value: Any) -> str:
    """Return the name of the folder of one value: key=value, with all but ASCII letters, digits, _ and - as %XX.

    Raises:
        InputError: if it is too long for a file system, or would be read as null.
    """
    if value == NULL:
        raise InputError(f"{key} {value!r} stands for null in the names of folders. Write a file instead of a folder.")
    name = f"{_escaped(key)}={NULL if value is None else _escaped(_text(value))}"
    if len(name) > _LONGEST:
        raise InputError(
            f"{key} {str(value)[:60]!r}... is too long for the name of a folder: {len(name)} bytes of "
            f"at most {_LONGEST}. Write a file instead of a folder."
        )
    return name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    shown = "".join(chr(byte) if byte in _LITERAL else f"%{byte:02X}" for byte in text.encode())
    if shown.casefold() == "null":  # DuckDB before 2.0 reads the bare word as null.
        shown = f"%{ord(shown[0]):02X}{shown[1:]}"
    return shown


def _require_own(path: Path) -> None:
    """Raise UsageError for anything at `path` but nothing, an empty folder, or one that this module wrote."""
    if not path.name.strip("."):
        raise UsageError(f"{path} names no folder of its own to export to. Give the folder's name.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to export to. Make it first.")
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} is no folder; a partitioned export needs a new folder, or one that it wrote before.")
    if path.is_dir():
        for found in sorted(path.rglob("*")):
            if found.is_symlink() or not (found.is_dir() or found.name == FILE):
                raise UsageError(
                    f"The folder {path} holds {found.relative_to(path)}, which no export wrote. Give a new folder, or "
                    "empty this one. Nothing was changed."
                )
