"""export: weighted or drawn synthetic records as a file, with a dataset card beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from synalign.errors import InputError, UsageError
from synalign.version import __version__

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


def write(
    frame: pl.DataFrame, path: Path, facts: Mapping[str, Any], columns: Sequence[str] | None = None
) -> tuple[Path, Path]:
    """Write records to `path`, in the format of its ending, and a dataset card to `path` + ".md"; return both paths.

    Each is written to a temporary name and put in place whole. `columns` are those to write, all by default.

    Raises:
        UsageError: for an ending or a column that is not known, or a folder that does not exist.
        InputError: if a column cannot be written in that format, or the disk refuses.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: files that end in {path.suffix!r} are not written; known are {', '.join(FORMATS)}.")
    shown = chosen(frame, columns)
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to export to. Make it first.")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        if kind == "parquet":
            shown.write_parquet(temporary)
        elif kind == "jsonl":
            shown.write_ndjson(temporary)
        else:
            nested = [name for name, dtype in shown.schema.items() if dtype.is_nested()]
            if nested:
                raise InputError(
                    f"CSV has no lists or structs, which {', '.join(nested)} hold. Export .parquet or .jsonl."
                )
            shown.write_csv(temporary)
        os.replace(temporary, path)
        card = write_card(frame, shown.schema, path, facts)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} could not be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path, card


def chosen(frame: pl.DataFrame, columns: Sequence[str] | None) -> pl.DataFrame:
    """Return those columns of a frame, in that order; all of them for None.

    Raises:
        UsageError: if it lacks one, or none or one twice is asked for.
    """
    if columns is None:
        return frame
    if isinstance(columns, str) or not columns or len(set(columns)) < len(columns):
        raise UsageError(f"columns takes a list of names, each once; given: {columns!r}.")
    unknown = [name for name in columns if name not in frame.columns]
    if unknown:
        raise UsageError(f"There is no column {', '.join(unknown)}. There are: {', '.join(frame.columns)}.")
    return frame.select(columns)


def write_card(frame: pl.DataFrame, schema: pl.Schema, path: Path, facts: Mapping[str, Any]) -> Path:
    """Write the card of a dataset with these columns of the records `frame`, and return its path: `path` + ".md"."""
    card = path.with_name(path.name + ".md")
    draft = path.with_name(f".{card.name}.partial")
    draft.write_text(_card(frame, schema, path, facts), encoding="utf-8")
    os.replace(draft, card)
    return card


def _card(frame: pl.DataFrame, schema: pl.Schema, path: Path, facts: Mapping[str, Any]) -> str:
    lines = [
        f"# {path.name}",
        "",
        "Synthetic text: written by a generator, not by the people whose text it imitates, and weighted or drawn to "
        "match the distribution of real text in an embedding space. Matching there proves nothing about facts in it.",
        "",
        "| what | value |",
        "| --- | --- |",
        f"| made with | SynAlign {__version__} |",
        f"| rows | {frame.height} |",
        *(f"| {name} | {_show(value)} |" for name, value in facts.items() if value is not None),
        "",
        "## Columns",
        "",
        *(f"- `{name}`: {dtype}" for name, dtype in schema.items()),
        "",
        "## Labels",
        "",
        "| label | rows | share of weight |",
        "| --- | --- | --- |",
    ]
    amount = pl.col("copies") if "copies" in frame.columns else pl.col("weight")
    shares = frame.group_by("label").agg(pl.len().alias("rows"), amount.sum().alias("amount")).sort("label")
    total = shares["amount"].sum()
    lines += [f"| {_show(label)} | {rows} | {value / total:.4f} |" for label, rows, value in shares.iter_rows()]
    return "\n".join(lines) + "\n"


def _show(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
