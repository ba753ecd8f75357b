"""Rows of a relation in a form in which two ways to the same rows compare equal."""

from __future__ import annotations

import json

from duckdb import DuckDBPyConnection


def rows(connection: DuckDBPyConnection, name: str) -> list[str]:
    """Every row as JSON text, in order."""
    found = connection.sql(f"select to_json(x)::varchar as r from {name} as x").fetchall()
    return comparable([row[0] for row in found])


def comparable(found: list[str]) -> list[str]:
    """The rows with their numbers to 12 digits, in order: sums differ in the last bits with the order of addition."""

    def short(text: str) -> float:
        return float(f"{float(text):.12g}")

    return sorted(json.dumps(json.loads(row, parse_float=short)) for row in found)
