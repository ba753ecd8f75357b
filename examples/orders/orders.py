"""Orders of a team, joined to weighted synthetic messages. Needs the package duckdb alone:

python examples/orders/orders.py demo-workspace/catalog.duckdb
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent


def make_warehouse(path: Path) -> None:
    """Make a DuckDB file with the table `orders`: a stand-in for what a team has."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "create or replace table orders as from read_csv($file, nullstr = '')",
            {"file": str(HERE / "data" / "orders.csv")},
        )


def main(catalog: Path, warehouse: Path) -> int:
    """Print the join, and return 1 if the weights are not fit to be used."""
    make_warehouse(warehouse)
    with duckdb.connect() as connection:
        for path, name in ((catalog, "synalign"), (warehouse, "warehouse")):
            connection.execute(f"attach '{str(path).replace(chr(39), 2 * chr(39))}' as {name} (read_only)")
        broken = connection.sql((HERE / "check.sql").read_text(encoding="utf-8")).fetchall()
        for rule, found in broken:
            print(f"{rule}: {found}")
        if broken:
            return 1
        print(connection.sql((HERE / "join.sql").read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python {sys.argv[0]} CATALOG [WAREHOUSE]")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "warehouse.duckdb")))
