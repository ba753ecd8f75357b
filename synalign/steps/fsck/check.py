"""fsck: checks every promise that a workspace keeps, and says of each that is broken what to do. It changes nothing.

It opens what is there by itself, part by part: a part that is damaged is reported, and keeps no other from being
checked. It takes no lock, so that what a writer is about to finish looks like damage; it says when one is at work.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from synalign import config as configuration
from synalign.config import CONFIG_NAME, Config
from synalign.errors import ConfigError, StoreError, SynAlignError, WorkspaceNotFoundError
from synalign.steps.core.context import Context
from synalign.steps.fsck import integrity
from synalign.steps.fsck.files import check_files
from synalign.steps.fsck.report import ERROR, LEFTOVER, RESTORE, SHOWN, Problem, Report
from synalign.store.lake import format
from synalign.store.lake.journal import Journal
from synalign.store.lake.lake import Lake
from synalign.store.lake.migrations import MIGRATIONS
from synalign.store.lake.schemas import TABLES
from synalign.store.ledger.ledger import Ledger
from synalign.store.ledger.locks import Locks
from synalign.store.sql import checks

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def fsck(root: Path) -> Report:
    """Check the workspace in a folder, also one that cannot be opened any more.

    Raises:
        WorkspaceNotFoundError: if there is none.
        WorkspaceVersionError: if it was written by a newer version, whose promises are not known here.
    """
    parts = ("lance", CONFIG_NAME, format.FORMAT_NAME, "ledger.sqlite")
    if not any((root / name).exists() for name in parts):
        raise WorkspaceNotFoundError(f"There is no workspace in {root}. 'synalign init {root}' makes one.")
    report = Report(str(root))
    locks = Locks(root)
    at_work = locks.at_work()
    found = _format(root, report)
    config = _configuration(root, report)
    lake, ledger = Lake(root / "lance"), Ledger(root / "ledger.sqlite")
    try:
        readable = integrity.check_tables(lake, found is not None and found.schema < format.SCHEMA, report)
        calls = integrity.check_ledger(ledger, found is not None and found.schema < format.SCHEMA, report)
        lost = readable.known - readable.tables | ({"ledger"} if calls is None else set())
        rows = TABLES["calls"].schema.empty_table() if calls is None else calls
        with closing(checks.connect(lake, readable.tables, readable.vectors, rows)) as connection:
            _keys(connection, readable, report)
            _promises(connection, lost, report)
        if config is not None and not lost:
            integrity.check_catalog(Context(root, config, lake, Journal(lake), ledger), report)
        else:
            report.skipped["catalog"] = "what it shows cannot be compared while a table or the configuration is damaged"
        check_files(root, lake, readable.known, report)
    finally:
        ledger.close()
    report.at_work = sorted({*at_work, *locks.at_work()})
    order = {ERROR: 0, LEFTOVER: 1}
    report.problems.sort(key=lambda problem: order.get(problem.kind, 2))
    return report


def _format(root: Path, report: Report) -> format.Format | None:
    report.checked.append("format")
    try:
        found = format.require_readable(root)
    except StoreError as error:
        report.add("format", ERROR, str(error), format.FORMAT_NAME, "see the message")
        return None
    report.schema = found.schema
    if not found.written:
        return found
    done = [item.get("number") for item in found.migrations]
    wanted = [migration.number for migration in MIGRATIONS if migration.number <= found.schema]
    # A workspace that was made by a later version begins at its schema, and lists what was done since.
    if done != wanted[len(wanted) - len(done) :]:
        report.add(
            *("format", ERROR, f"schema {found.schema} was reached by the migrations {done}; {wanted} lead there"),
            format.FORMAT_NAME,
            "move the file away: the next step does all migrations again, which leave alone what is done",
        )
    return found


def _configuration(root: Path, report: Report) -> Config | None:
    report.checked.append("configuration")
    path = root / CONFIG_NAME
    if not path.is_file():
        return Config()
    try:
        return configuration.load(Config, path)
    except ConfigError as error:
        report.add("configuration", ERROR, str(error), CONFIG_NAME, "correct the file")
    return None


def _keys(connection: DuckDBPyConnection, readable: integrity.Readable, report: Report) -> None:
    report.checked.append("keys")
    keys = {name: TABLES[name].key for name in readable.tables if name in TABLES}
    for name, key in sorted((keys | dict.fromkeys(readable.vectors, ("origin", "id"))).items()):
        found = checks.repeated_keys(connection, name, key, SHOWN)
        if found.count:
            what = f"several rows have one key ({', '.join(key)}), or none"
            report.problems.append(Problem("keys", ERROR, what, name, RESTORE, found.count, found.first))


def _promises(connection: DuckDBPyConnection, lost: set[str], report: Report) -> None:
    """Make the checks that are SQL, but for those that need a table which cannot be read."""
    for check in checks.all_checks():
        gone = {name for name in lost if ("vectors" if name.startswith("vectors_") else name) in check.tables}
        if gone:
            report.skipped[check.name] = f"it needs what cannot be read: {', '.join(sorted(gone))}"
            continue
        try:
            found = checks.violations(connection, check.sql, SHOWN)
        except SynAlignError as error:
            report.skipped[check.name] = str(error)
            continue
        report.checked.append(check.name)
        if found.count:
            where = ", ".join(sorted(check.tables - {"runs"}) or ["runs"])
            report.problems.append(
                Problem(check.name, check.kind, check.about, where, check.cure, found.count, found.first)
            )
