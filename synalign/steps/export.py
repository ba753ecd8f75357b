"""export: weighted or drawn synthetic records as a file, with a dataset card beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

from synalign.errors import InputError, UsageError
from synalign.version import __version__

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


def write(frame: pl.DataFrame, path: Path, facts: dict[str, Any]) -> tuple[Path, Path]:
    """Write records to `path`, in the format of its ending, and a dataset card to `path` + ".md"; return both paths.

    Each is written to a temporary name and put in place whole.

    Raises:
        UsageError: for an ending that is not known, or a folder that does not exist.
        InputError: if a column cannot be written in that format, or the disk refuses.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: files that end in {path.suffix!r} are not written; known are {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to export to. Make it first.")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        if kind == "parquet":
            frame.write_parquet(temporary)
        elif kind == "jsonl":
            frame.write_ndjson(temporary)
        else:
            nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
            if nested:
                raise InputError(
                    f"CSV has no lists or structs, which {', '.join(nested)} hold. Export .parquet or .jsonl."
                )
            frame.write_csv(temporary)
        os.replace(temporary, path)
        card = path.with_name(path.name + ".md")
        draft = path.with_name(f".{card.name}.partial")
        draft.write_text(_card(frame, path, facts), encoding="utf-8")
        os.replace(draft, card)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} could not be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path, card


def _card(frame: pl.DataFrame, path: Path, facts: dict[str, Any]) -> str:
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
        *(f"- `{name}`: {dtype}" for name, dtype in frame.schema.items()),
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
