"""What a team has, beside the relations: every kind joins, nothing is written to, and each failure says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import synalign as sa
from synalign.errors import AttachmentError, SqlError, UsageError, without_passwords
from synalign.store.sql import attachments
from synalign.store.sql.attachments import Attachments

TEAMS = {"label": ["refund", "delivery", "defect", "account", "praise"], "cost": [9, 4, 7, 2, 1]}
JOIN = "select count(*), sum(weight), sum(weight * cost) from synthetic_weighted join {} using (label)"
SECRET = "hunter2"
#: Where each extension that a test needs says whether it can be had; nothing is downloaded.
EXTENSIONS = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner", "mysql": "mysql_scanner", "lance": "lance"}


@pytest.fixture
def workspace(filled: sa.Workspace) -> sa.Workspace:
    """An object of its own over the finished workspace, with nothing attached."""
    return sa.open(filled.path, create=False)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A DuckDB file of a team."""
    path = tmp_path / "warehouse.duckdb"
    frame = pl.DataFrame(TEAMS)
    with closing(duckdb.connect(str(path))) as connection:
        connection.register("frame", frame.to_arrow())
        connection.execute("create table teams as from frame")
    return path


def need(extension: str) -> None:
    """Skip a test whose extension of DuckDB is not there."""
    with closing(duckdb.connect(config={"autoinstall_known_extensions": "false"})) as connection:
        try:
            attachments._load(connection, EXTENSIONS[extension], "a test")
        except AttachmentError as error:
            pytest.skip(f"DuckDB's extension {extension}: {str(error).splitlines()[0]}")


def parquet(path: Path) -> None:
    pl.DataFrame(TEAMS).write_parquet(path)


def as_folder(path: Path) -> None:
    """As Hive has it, the cost in the names of folders."""
    for (cost,), part in pl.DataFrame(TEAMS).partition_by("cost", as_dict=True, include_key=False).items():
        (path / f"cost={cost}").mkdir(parents=True)
        part.write_parquet(path / f"cost={cost}" / "part.parquet")


def gzipped(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(pl.DataFrame(TEAMS).write_csv().encode()))


FILES: dict[str, Callable[[Path], object]] = {
    "teams.parquet": parquet,
    "teams.csv": lambda path: pl.DataFrame(TEAMS).write_csv(path),
    "teams.csv.gz": gzipped,
    "teams.tsv": lambda path: pl.DataFrame(TEAMS).write_csv(path, separator="\t"),
    "teams.jsonl": lambda path: pl.DataFrame(TEAMS).write_ndjson(path),
    "teams": as_folder,
}


@pytest.fixture
def expected(filled: sa.Workspace) -> tuple[int, float, float]:
    """What every join of these tables gives, reckoned in polars."""
    weighted = filled.sql("from synthetic_weighted").pl().join(pl.DataFrame(TEAMS), on="label")
    return weighted.height, weighted["weight"].sum(), (weighted["weight"] * weighted["cost"]).sum()


def same(found: tuple[Any, ...], expected: tuple[int, float, float]) -> bool:
    return found[0] == expected[0] > 0 and found[1:] == pytest.approx(expected[1:], abs=1e-12)


def test_a_duckdb_file_joins_in_sql_in_connections_and_in_earlier_states(
    workspace: sa.Workspace, warehouse: Path, expected: tuple[int, float, float]
) -> None:
    assert workspace.attach(warehouse) == "warehouse"
    query = JOIN.format("warehouse.teams")
    assert same(workspace.sql(query).fetchall()[0], expected)
    with closing(workspace.connect()) as connection:
        assert same(connection.sql(query).fetchall()[0], expected)
    last = workspace.sql("select run_id from run_order order by sequence desc limit 1").fetchall()[0][0]
    assert same(workspace.at(last).sql(query).fetchall()[0], expected)
    workspace.detach("warehouse")
    with pytest.raises(SqlError, match="warehouse"):
        workspace.sql(query)


@pytest.mark.parametrize("name", FILES)
def test_files_and_folders_are_views(
    name: str, workspace: sa.Workspace, tmp_path: Path, expected: tuple[int, float, float]
) -> None:
    FILES[name](tmp_path / name)
    assert workspace.attach(str(tmp_path / name)) == "teams"
    assert same(workspace.sql(JOIN.format("teams")).fetchall()[0], expected)


FRAMES: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame(TEAMS),
    "polars lazy": lambda: pl.LazyFrame(TEAMS),
    "polars categorical": lambda: pl.DataFrame(TEAMS).cast({"label": pl.Categorical}),
    "pandas": lambda: pd.DataFrame(TEAMS),
    "pandas with an index": lambda: pd.DataFrame(TEAMS).set_index("label"),
    "arrow": lambda: pa.table(TEAMS),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_views_by_name(kind: str, workspace: sa.Workspace, expected: tuple[int, float, float]) -> None:
    with pytest.raises(UsageError, match="no name of its own"):
        workspace.attach(FRAMES[kind]())
    assert workspace.attach(FRAMES[kind](), "teams") == "teams"
    for _ in range(2):  # A frame can be read more than once.
        assert same(workspace.sql(JOIN.format("teams")).fetchall()[0], expected)


def test_a_frame_that_changes_later_stays_as_it_was_attached(workspace: sa.Workspace) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    workspace.attach(frame, "mine")
    frame["a"] = 0
    assert workspace.sql("select sum(a) from mine").fetchall() == [(3,)]


def test_another_workspace_is_attached_by_its_folder(workspace: sa.Workspace, blank: Path) -> None:
    other = sa.open(blank)
    other.ingest(pl.DataFrame({"text": ["one", "two"]}))
    assert workspace.attach(blank, "other") == "other"
    assert workspace.sql("select count(*) from other.real").fetchall() == [(2,)]


def test_names_of_files_become_names_of_sql(workspace: sa.Workspace, tmp_path: Path) -> None:
    odd = tmp_path / "f[o]*?"
    odd.mkdir()
    for stem in ("2026-orders", "größe", "f[o]*?"):
        parquet(odd / f"{stem}.parquet")
    assert workspace.attach(odd / "2026-orders.parquet") == "_2026_orders"
    assert workspace.attach(odd / "größe.parquet") == "größe"
    assert workspace.attach(odd / "f[o]*?.parquet") == "f_o___"
    assert workspace.sql("select count(*) from größe join _2026_orders using (label)").fetchall() == [(5,)]
    assert workspace.sql("select count(*) from f_o___").fetchall() == [(5,)]


def test_a_relative_path_stays_where_it_was(
    workspace: sa.Workspace, warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace.attach("warehouse.duckdb")
    monkeypatch.chdir("/")
    assert workspace.sql("select count(*) from warehouse.teams").fetchall() == [(5,)]


def test_what_is_attached_is_only_read(workspace: sa.Workspace, warehouse: Path) -> None:
    before = warehouse.read_bytes()
    workspace.attach(warehouse)
    workspace.attach(pl.DataFrame(TEAMS), "mine")
    for statement in ("insert into warehouse.teams values ('x', 1)", "drop table warehouse.teams", "delete from mine"):
        with pytest.raises(SqlError, match="is not run here"):
            workspace.sql(statement)
        with closing(workspace.connect()) as connection, pytest.raises(duckdb.Error):
            connection.execute(statement)
    assert warehouse.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs", "'runs' is a relation"),
        ("Synthetic_Weighted", "'synthetic_weighted' is a relation"),
        ("sample_synthetic", "is a relation"),
        ("raw_runs", "has a meaning already"),
        ("MEMORY", "has a meaning already"),
        ("Detail", "has a meaning already"),
        ("taken", "'Taken' is attached already"),
        ("order", "is a word of SQL"),
        ("Select", "is a word of SQL"),
        ("my table", "cannot be a name"),
        ('x"; drop table y', "cannot be a name"),
        ("", "cannot be a name"),
        ("1st", "cannot be a name"),
        (3, "cannot be a name"),
    ],
)
def test_names_that_cannot_be_had(name: Any, said: str, warehouse: Path) -> None:
    attached = Attachments()
    attached.attach(pl.DataFrame(TEAMS), "Taken")
    for source in (warehouse, pa.table(TEAMS)):
        with pytest.raises(UsageError, match=said):
            attached.attach(source, name)
    attached.detach("Taken")


def test_a_default_name_that_is_taken_asks_for_another(tmp_path: Path) -> None:
    workspace = Attachments()
    parquet(tmp_path / "runs.parquet")
    with pytest.raises(UsageError, match="under another name"):
        workspace.attach(tmp_path / "runs.parquet")
    parquet(tmp_path / "order.parquet")
    with pytest.raises(UsageError, match="a word of SQL"):
        workspace.attach(tmp_path / "order.parquet")
    assert workspace.attach(tmp_path / "runs.parquet", "theirs") == "theirs"


def test_detaching_what_is_not_there(blank: Path) -> None:
    workspace = sa.open(blank)
    with pytest.raises(UsageError, match=r"Nothing is attached as 'x'\. Attached: nothing"):
        workspace.detach("x")
    workspace.attach(pl.DataFrame(TEAMS), "y")
    with pytest.raises(UsageError, match="Attached: y"):
        workspace.detach("x")
    assert not blank.exists(), "nothing is kept on disk"


def write(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def folder_of_csv(folder: Path) -> Path:
    (folder / "many").mkdir()
    (folder / "many" / "a.csv").write_text("a\n1\n", encoding="utf-8")
    return folder / "many"


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "missing": (lambda folder: folder / "none.duckdb", AttachmentError, "no file or folder"),
    "no database": (write("a.duckdb", b"x" * 9000), AttachmentError, "not a valid DuckDB database"),
    "no Parquet": (write("a.parquet", b"x" * 900), AttachmentError, "cannot be attached as a:"),
    "no JSON": (write("a.jsonl", b"{]\n"), AttachmentError, "cannot be attached as a:"),
    "no SQLite": (write("a.sqlite", b"x" * 900), AttachmentError, "no SQLite database"),
    "no bytes": (write("a.csv", b""), AttachmentError, "no bytes"),
    "unknown ending": (write("a.xlsx", b"PK"), UsageError, r"ends in \.xlsx is not known"),
    "no ending": (write("a", b"x"), UsageError, "ends in nothing is not known"),
    "folder of CSV": (folder_of_csv, AttachmentError, r"no \.parquet file"),
    "sqlite: missing": (lambda folder: f"sqlite:{folder}/none", AttachmentError, "no file"),
    "Python objects": (
        lambda _: pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}),
        AttachmentError,
        "hold Python objects: a",
    ),
    "wide integers": (lambda _: pl.DataFrame({"a": pl.Series([1], dtype=pl.Int128)}), AttachmentError, "one type"),
    "mixed": (lambda _: pd.DataFrame({"a": ["x", 2]}), AttachmentError, "one type that a table has"),
    "complex": (lambda _: pd.DataFrame({"a": [1j]}), AttachmentError, "cannot be attached"),
    "twice a column": (lambda _: pd.DataFrame([[1, 2]], columns=["a", "a"]), AttachmentError, "cannot be attached"),
    "half floats": (
        lambda _: pa.table({"a": pa.array([1.5], pa.float16())}),
        AttachmentError,
        "cannot be attached as x",
    ),
    "no columns": (lambda _: pl.DataFrame(), AttachmentError, "cannot be attached"),
    "lazy and gone": (lambda _: pl.scan_parquet("/no/such.parquet"), AttachmentError, "cannot be attached as x"),
    "a list": (lambda _: [1, 2], UsageError, "A list cannot be attached"),
    "a dict": (lambda _: {"a": [1]}, UsageError, "A dict cannot be attached"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_attached_is_said_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    make, kind, said = BAD[case]
    source, attached = make(tmp_path), Attachments()
    with pytest.raises(kind, match=said):
        attached.attach(source, "x" if not isinstance(source, str | Path) else None)
    with pytest.raises(UsageError, match="Attached: nothing"):
        attached.detach("x")


_WRITER = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writer(warehouse: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the warehouse open to write."""
    command = [sys.executable, "-c", _WRITER, str(warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.stdin.close()


def test_a_file_that_a_writer_locks_can_be_tried_again(
    workspace: sa.Workspace, warehouse: Path, writer: subprocess.Popen[str]
) -> None:
    with pytest.raises(AttachmentError, match="Could not set lock") as caught:
        workspace.attach(warehouse)
    assert caught.value.retryable
    assert "open to write" in str(caught.value)
    assert writer.stdin is not None
    writer.stdin.close()
    writer.wait(60)
    assert workspace.attach(warehouse) == "warehouse"


def test_a_writer_in_this_process_is_said_too(workspace: sa.Workspace, warehouse: Path) -> None:
    with closing(duckdb.connect(str(warehouse))), pytest.raises(AttachmentError) as caught:
        workspace.attach(warehouse)
    assert caught.value.retryable


def test_what_goes_away_later_is_named_and_stops_neither_samples_nor_exports(
    workspace: sa.Workspace, warehouse: Path, tmp_path: Path
) -> None:
    workspace.attach(warehouse)
    warehouse.unlink()
    with pytest.raises(AttachmentError, match=r"ws\.detach\('warehouse'\)") as caught:
        workspace.sql("select 1")
    assert not caught.value.retryable
    assert workspace.sample(5).height
    assert workspace.export(tmp_path / "all.csv").is_file()
    workspace.detach("warehouse")
    assert workspace.sql("select 1").fetchall() == [(1,)]


def test_a_person_excludes_by_a_table_of_theirs(filled: sa.Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.path, tmp_path / "copy")
    workspace = sa.open(tmp_path / "copy")
    first = workspace.sql("select id from synthetic_weighted order by id limit 2").pl()
    workspace.attach(first, "bad_ones")
    assert workspace.exclude("id in (from bad_ones)").counts == {"excluded": 2}


ADDRESSES = [
    f"postgresql://bob:{SECRET}@127.0.0.1:1/shop",
    f"postgres://bob:p%40{SECRET}@127.0.0.1:1/shop?connect_timeout=3",
    f"postgres:host=127.0.0.1 port=1 user=bob password={SECRET} dbname=shop",
    f"postgres:host=127.0.0.1 port=1 password = 'it\\'s {SECRET}' dbname=shop",
    f"mysql:host=127.0.0.1 port=1 user=bob passwd={SECRET} database=shop",
    f"mysql://bob:{SECRET}@127.0.0.1:1/shop",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_password_is_in_a_message(address: str) -> None:
    """Whether the extension is there, and the server is not, or the extension is not."""
    with pytest.raises(AttachmentError, match="shop") as caught:
        Attachments().attach(address)
    said = "".join(traceback.format_exception(caught.value))
    assert SECRET not in said
    assert "***" in said
    assert attachments.plan(address, None).name == "shop"


@pytest.mark.parametrize("odd", "@/?#")
def test_a_password_that_would_be_taken_for_a_host_is_refused(odd: str) -> None:
    with pytest.raises(UsageError, match="is written %40") as caught:
        attachments.plan(f"postgres://bob:p{odd}{SECRET}@127.0.0.1:1/shop", None)
    assert SECRET not in str(caught.value)


def test_a_server_without_a_database_needs_a_name() -> None:
    with pytest.raises(UsageError, match="Give a name") as caught:
        attachments.plan(f"postgresql://bob:{SECRET}@127.0.0.1", None)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["select 'a' as x", "password", "https://example.com/a@b", "passwords are fine"])
def test_what_is_no_password_stays(text: str) -> None:
    assert without_passwords(text) == text


def test_an_extension_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("create table t (a)")
    monkeypatch.setattr(attachments, "_SQLITE", ("sqlite", "no_such_scanner"))
    with pytest.raises(AttachmentError, match="SynAlign downloads nothing") as caught:
        Attachments().attach(tmp_path / "shop.sqlite")
    for part in ('duckdb -c "install no_such"', "duckdb-extension-no-such-scanner", duckdb.__version__):
        assert part in str(caught.value)


@pytest.mark.parametrize("form", ["{}", "sqlite:{}"])
def test_sqlite_through_the_extension(
    form: str, workspace: sa.Workspace, tmp_path: Path, expected: tuple[int, float, float]
) -> None:
    need("sqlite")
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table teams (label text, cost integer)")
        connection.executemany("insert into teams values (?, ?)", zip(*TEAMS.values(), strict=True))
    assert workspace.attach(form.format(path)) == "shop"
    assert same(workspace.sql(JOIN.format("shop.teams")).fetchall()[0], expected)
    with closing(workspace.connect()) as own, pytest.raises(duckdb.Error, match="read-only"):
        own.execute("delete from shop.teams")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server with the table `teams`, started for these tests where there is one."""
    need("postgres")
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("there is no PostgreSQL server (initdb, pg_ctl) on this machine")
    folder = Path(tempfile.mkdtemp(prefix="synalign-pg-"))  # short: the path of its socket is limited
    become: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        shutil.chown(folder, "nobody")
        become = {"user": "nobody"}
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"

    def do(*command: str | Path) -> None:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, **become)
        assert done.returncode == 0, command

    do(initdb, "-D", folder / "data", "-U", "bob", "--auth=trust", "-N")
    do(pg_ctl, "-D", folder / "data", "-o", server, "-w", "-l", folder / "log", "start")
    try:
        address = f"postgresql://bob:{SECRET}@127.0.0.1:{port}/postgres"
        with closing(duckdb.connect()) as connection:
            attachments._load(connection, "postgres_scanner", "a test")
            connection.execute(f"attach '{address}' as shop (type postgres)")
            connection.register("frame", pa.table(TEAMS))
            connection.execute("create table shop.teams as from frame")
        yield address
    finally:
        do(pg_ctl, "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_postgresql_through_the_extension(
    workspace: sa.Workspace, shop: str, expected: tuple[int, float, float]
) -> None:
    assert workspace.attach(shop, "shop") == "shop"
    assert same(workspace.sql(JOIN.format("shop.teams")).fetchall()[0], expected)
    with closing(workspace.connect()) as own, pytest.raises(duckdb.Error, match="read-only"):
        own.execute("delete from shop.teams")
    # Neither do the extension's own functions write.
    with pytest.raises(SqlError, match="read-only") as caught:
        workspace.fetch(workspace.sql("call postgres_execute('shop', 'delete from teams')"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert workspace.sql("select count(*) from shop.teams").fetchall() == [(5,)]
    with pytest.raises(AttachmentError, match="no_such_database") as caught:
        workspace.attach(shop.replace("/postgres", "/no_such_database"))
    assert SECRET not in str(caught.value)
