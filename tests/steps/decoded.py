"""Second opinion on what a workspace holds: every file decoded without the package, and searched for a word."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import lance
from lance.file import LanceFileReader


def holding(root: Path, word: str) -> set[str]:
    """The places in which a word stands, in whatever case: tables of Lance at each version, each Lance data file by
    itself (rows that are deleted, and files that no version names, included), the ledger, the catalog, raw bytes."""
    found = set()
    for table in sorted((root / "lance").glob("*.lance")):
        name = table.name.removesuffix(".lance")
        versions = [row["version"] for row in lance.dataset(str(table)).versions()]
        for version in versions:
            place = f"lance {name}" if version == max(versions) else f"lance {name}, old version"
            rows = lance.dataset(str(table), version=version).to_table().to_pylist()
            found |= {place} if says(rows, word) else set()
        for file in (table / "data").rglob("*.lance"):
            rows = LanceFileReader(str(file)).read_all().to_table().to_pylist()
            found |= {f"file of {name}"} if says(rows, word) else set()
    if (root / "ledger.sqlite").exists():
        with closing(sqlite3.connect(root / "ledger.sqlite")) as ledger:
            for (name,) in ledger.execute("select name from sqlite_master where type = 'table'").fetchall():
                rows = ledger.execute(f"select * from {name}").fetchall()
                found |= {f"ledger {name}"} if says(rows, word) else set()
    if (root / "catalog.duckdb").exists():
        with closing(duckdb.connect(str(root / "catalog.duckdb"), read_only=True)) as catalog:
            catalog.execute("set search_path = 'main,detail'")
            for (name,) in catalog.execute("select table_name from duckdb_tables()").fetchall():
                rows = catalog.execute(f'from "{name}"').fetchall()
                found |= {f"catalog {name}"} if says(rows, word) else set()
    for file in root.rglob("*"):
        if file.is_file() and says(file.read_bytes(), word):
            found.add(f"bytes of {file.relative_to(root).parts[0]}")
    return found


def says(value: Any, word: str) -> bool:
    """Whether a word stands anywhere in a value, in archives too."""
    if isinstance(value, str):
        return word.lower() in value.lower()
    if isinstance(value, bytes):
        if value[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(value)) as archive:
                return any(says(archive.read(name), word) for name in archive.namelist())
        return word.lower().encode() in value.lower()
    if isinstance(value, dict):
        return any(says(part, word) for part in value.values())
    return isinstance(value, list | tuple) and any(says(part, word) for part in value)
