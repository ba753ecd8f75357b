"""What a team has beside a workspace: DuckDB files, files and folders of rows, frames, and other databases.

Each is put into every connection under a name of its own, to be joined with the relations there. All of it is only
read, and no extension of DuckDB is ever downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa

from synalign.config import CATALOG_NAME
from synalign.errors import AttachmentError, UsageError, without_passwords
from synalign.store.lake.lake import reason
from synalign.store.sql import statements
from synalign.store.sql.query import SETTINGS, interruptible, literal, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DUCKDB_SUFFIXES = (".duckdb", ".ddb", ".db")
_SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db3")
_READERS = {
    ".parquet": "read_parquet({})",
    ".csv": "read_csv({})",
    ".tsv": "read_csv({}, delim = '\t')",
    ".jsonl": "read_json({}, format = 'newline_delimited')",
    ".ndjson": "read_json({}, format = 'newline_delimited')",
}
#: How a database that DuckDB reaches through an extension begins, what kind it is, and the extension.
_SERVERS = (
    (re.compile(r"postgres(ql)?:"), "postgres", "postgres_scanner"),
    (re.compile(r"mysql:"), "mysql", "mysql_scanner"),
)
_SQLITE = ("sqlite", "sqlite_scanner")
_NAME = re.compile(r"[^\W\d]\w*")
_DATABASE = re.compile(r"\b(?:dbname|database|db)\s*=\s*'?([^\s']+)")
#: Names of databases and schemas, those of DuckDB itself among them.
_TAKEN = ("memory", "system", "temp", statements.MAIN, statements.DETAIL, "information_schema", "pg_catalog")
_LOCKED = ("Could not set lock", "Unique file handle conflict", "different configuration")


@dataclass(frozen=True)
class Attachment:
    """One thing that is attached: what messages call it, and the SQL, the extension or the table that it needs."""

    name: str
    shown: str
    sql: str = ""
    extension: str | None = None
    rows: pa.Table | pl.LazyFrame | None = None
    #: An address that may hold a password.
    given: str = ""

    @property
    def is_database(self) -> bool:
        """Whether it has tables of its own, and is none."""
        return self.sql.startswith("attach ")


class Attachments:
    """What is attached to one workspace object, in that order. Nothing of it is kept on disk."""

    def __init__(self) -> None:
        self._by_name: dict[str, Attachment] = {}

    def attach(self, source: Any, name: str | None = None) -> str:
        """Take a source in, and return its name.

        Raises:
            UsageError: if its kind is not known, or the name is none, is taken, or is needed and was not given.
            AttachmentError: if it cannot be read. What was attached before stays.
        """
        new = plan(source, name)
        _require_free(new.name, self._by_name)
        with closing(duckdb.connect(config=SETTINGS)) as trial:
            put(trial, new)
        self._by_name[new.name] = new
        return new.name

    def detach(self, name: str) -> None:
        """Leave out what was attached under that name.

        Raises:
            UsageError: if nothing was.
        """
        if name not in self._by_name:
            raise UsageError(f"Nothing is attached as {name!r}. Attached: {', '.join(self._by_name) or 'nothing'}.")
        del self._by_name[name]

    def put_into(self, connection: DuckDBPyConnection) -> None:
        """Put all that is attached into a connection.

        Raises:
            AttachmentError: if one cannot be read any more; it says which.
        """
        for attachment in self._by_name.values():
            put(connection, attachment)


@contextmanager
def opened(source: Any, name: str) -> Iterator[tuple[DuckDBPyConnection, str]]:
    """Open a connection of its own with one source in it; yield it, and what messages call the source.

    Raises:
        UsageError, AttachmentError: as `plan` and `put`.
    """
    with closing(duckdb.connect(config=SETTINGS)) as connection, interruptible():
        attachment = plan(source, name)
        put(connection, attachment)
        yield connection, attachment.shown


def plan(source: Any, name: str | None) -> Attachment:
    """Return what attaching a source takes, without doing it.

    Raises:
        UsageError: if its kind is not known, or it has no name that could be used and none was given.
        AttachmentError: if there is no such file, or a frame holds what no table can.
    """
    if isinstance(source, os.PathLike) or (isinstance(source, str) and not _is_address(source)):
        return _of_path(Path(os.path.abspath(Path(source).expanduser())), name)
    if isinstance(source, str):
        return _of_address(source, name)
    rows = _rows_of(source)
    if name is None:
        raise UsageError("A frame has no name of its own. Give one: ws.attach(frame, 'orders').")
    return Attachment(_checked(name), f"the {type(source).__name__}", rows=rows)


def put(connection: DuckDBPyConnection, attachment: Attachment) -> None:
    """Put one thing into a connection.

    Raises:
        AttachmentError: if it cannot be read, or its extension is not installed. No password is in the message.
    """
    try:
        if attachment.extension is not None:
            _load(connection, attachment.extension, attachment.shown)
        if attachment.rows is not None:
            connection.register(attachment.name, attachment.rows)
            connection.sql(f"from {quoted(attachment.name)} limit 0")
        else:
            connection.execute(attachment.sql)
        return
    except (duckdb.Error, pl.exceptions.PolarsError, pa.ArrowException) as error:
        failure = error
    raise _failed(attachment, failure) from (failure if str(failure) == _without(attachment, str(failure)) else None)


def _failed(attachment: Attachment, error: Exception) -> AttachmentError:
    said = _without(attachment, reason(error)).partition("\n\nLINE ")[0].partition("\n\nAt:")[0].strip()
    locked = any(sign in said for sign in _LOCKED)
    help = (
        "Another connection has it open to write. Close that one and try again, or attach a copy."
        if locked
        else f"If it was attached before, ws.detach({attachment.name!r}) leaves it out."
    )
    return AttachmentError(f"{attachment.shown} cannot be attached as {attachment.name}: {said}\n{help}", locked)


def _without(attachment: Attachment, said: str) -> str:
    """Return a message without the passwords of an attachment, however they are quoted there."""
    if attachment.given:
        for form in (attachment.given, literal(attachment.given)[1:-1]):
            said = said.replace(form, attachment.shown)
    return without_passwords(said)


def _of_path(path: Path, name: str | None) -> Attachment:
    if path.is_dir() and (path / CATALOG_NAME).is_file():  # the folder of a workspace stands for its catalog
        return _database(path / CATALOG_NAME, _called(name, path.name))
    if not path.exists():
        raise AttachmentError(f"There is no file or folder {path} to attach.")
    stem, suffix = _split(path)
    called = _called(name, stem)
    if path.is_dir():
        files = _pattern(path) + "/**/*.parquet"
        if not any(path.rglob("*.parquet")):
            raise AttachmentError(f"The folder {path} holds no .parquet file, and no workspace.")
        scan = f"read_parquet({literal(files)}, hive_partitioning = true, union_by_name = true)"
        return _view(path, called, scan)
    if suffix in _READERS:
        if not path.stat().st_size:
            raise AttachmentError(f"{path} is empty: it has no bytes.")
        return _view(path, called, _READERS[suffix].format(literal(_pattern(path))))
    if suffix in _SQLITE_SUFFIXES or _begins(path, b"SQLite format 3\0"):
        return _sqlite(path, called)
    if suffix in _DUCKDB_SUFFIXES or _begins(path, b"DUCK", at=8):
        return _database(path, called)
    known = ", ".join((*_DUCKDB_SUFFIXES, *_READERS, *_SQLITE_SUFFIXES))
    raise UsageError(
        f"{path} cannot be attached: a file that ends in {suffix or 'nothing'} is not known. Known are {known}, a "
        "folder of Parquet files, and the folder of a workspace."
    )


def _of_address(address: str, name: str | None) -> Attachment:
    if address.startswith("sqlite:"):
        path = Path(os.path.abspath(Path(address.removeprefix("sqlite:")).expanduser()))
        if not path.is_file():
            raise AttachmentError(f"There is no file {path} to attach.")
        return _sqlite(path, _called(name, path.stem))
    ((_, kind, extension),) = [server for server in _SERVERS if server[0].match(address)]
    # With slashes it is a URI, which goes on as it is; without them DuckDB's own prefix comes off.
    target = address if "://" in address else address.partition(":")[2]
    shown = f"{kind}: {without_passwords(target)}"
    host, _, rest = re.sub("[/?#]", "/", target.partition("://")[2]).partition("/")
    if f"{host}{rest}".count("@") > int("@" in host):
        # Else a part of the password would be taken for the host, and be named in messages.
        raise UsageError(f"{shown}: an @, /, ? or # in a password is written %40, %2F, %3F or %23.")
    if name is None:
        found = rest.partition("/")[0] if "://" in target else "".join(_DATABASE.findall(target)[:1])
        if not found:
            raise UsageError(f"{shown} names no database to be called by. Give a name: ws.attach(address, 'shop').")
        name = _identifier(found)
    sql = f"attach {literal(target)} as {quoted(_checked(name))} (type {kind}, read_only)"
    return Attachment(name, shown, sql, extension, given=target)


def _database(path: Path, name: str) -> Attachment:
    return Attachment(name, str(path), sql=f"attach {literal(path)} as {quoted(name)} (type duckdb, read_only)")


def _sqlite(path: Path, name: str) -> Attachment:
    # The extension takes any file, and fails at the first query.
    if not _begins(path, b"SQLite format 3\0"):
        raise AttachmentError(f"{path} is no SQLite database.")
    kind, extension = _SQLITE
    sql = f"attach {literal(path)} as {quoted(name)} (type {kind}, read_only)"
    return Attachment(name, str(path), sql=sql, extension=extension)


def _view(path: Path, name: str, scan: str) -> Attachment:
    return Attachment(name, str(path), sql=f"create view {quoted(name)} as from {scan}")


def _rows_of(source: Any) -> pa.Table | pl.LazyFrame:
    """Return a frame as what DuckDB scans: a copy of its rows, or the plan of a lazy frame."""
    if isinstance(source, pa.Table | pl.LazyFrame):
        return source
    try:
        if isinstance(source, pl.DataFrame):
            objects = [name for name, kind in source.schema.items() if kind == pl.Object]
            if objects:  # polars would hand over their addresses.
                raise AttachmentError(
                    f"Columns of the polars frame hold Python objects: {', '.join(objects)}. Cast them to text, a "
                    "number or a time, or drop them."
                )
            return source.to_arrow()
        if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
            index = any(level is not None and level not in source.columns for level in source.index.names)
            return pa.Table.from_pandas(source, preserve_index=index)
    except (pa.ArrowException, ValueError) as error:
        raise AttachmentError(
            f"The {type(source).__name__} cannot be attached: {reason(error)}. Give each column one type that a "
            "table has: text, a number, a time, a list or a struct of such."
        ) from error
    raise UsageError(
        f"A {type(source).__name__} cannot be attached: give a path, an address such as postgresql://host/shop, a "
        "polars or pandas frame, or an Arrow table."
    )


def _load(connection: DuckDBPyConnection, extension: str, shown: str) -> None:
    """Load an extension that is installed, or that a package brings; never one from the network."""
    brought = _brought(extension)
    try:
        connection.execute(f"load {extension if brought is None else literal(brought)}")
    except duckdb.Error as error:
        short = extension.removesuffix("_scanner")
        raise AttachmentError(
            f"{shown} needs DuckDB's extension {short}, which cannot be loaded: {str(error).splitlines()[0]}\nSynAlign "
            f'downloads nothing. Install it once for duckdb {duckdb.__version__}: duckdb -c "install {short}", or '
            f"python -c \"import duckdb; duckdb.sql('install {short}')\", or the package "
            f"duckdb-extension-{extension.replace('_', '-')} of the same version as duckdb."
        ) from error


def _brought(extension: str) -> Path | None:
    """Return the file of an extension that the package `duckdb-extension-...` has for this version of DuckDB."""
    package = importlib.util.find_spec(f"duckdb_extension_{extension}")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "extensions" / f"v{duckdb.__version__}"
    return next(iter(sorted(folder.glob("*.duckdb_extension"))), None)


def _require_free(name: str, attached: Iterable[str]) -> None:
    """Raise UsageError for a name that something has, upper and lower case being the same to SQL."""
    known = {other.casefold(): other for other in (*relation_names(), *(m.name for m in statements.load("macros")))}
    if name.casefold() in known:
        raise UsageError(f"{known[name.casefold()]!r} is a relation of the workspace. Attach it under another name.")
    if name.casefold() in _TAKEN or name.casefold().startswith("raw_"):
        raise UsageError(f"{name!r} has a meaning already, as raw_ and what begins so has. Choose another name.")
    for other in attached:
        if name.casefold() == other.casefold():
            raise UsageError(f"{other!r} is attached already. ws.detach({other!r}) first, or choose another name.")


def _called(name: str | None, default: str) -> str:
    return _checked(_identifier(default) if name is None else name)


def _checked(name: str) -> str:
    """Return a name that SQL takes without quotes, or raise UsageError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a name in SQL: it begins with a letter or _, then letters, digits and _.")
    if name.casefold() in _reserved():
        raise UsageError(f"{name!r} is a word of SQL, and would have to be quoted everywhere. Give another name.")
    return name


def _reserved() -> set[str]:
    with closing(duckdb.connect(config=SETTINGS)) as connection:
        words = connection.sql("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'")
        return {row[0] for row in words.fetchall()}


def _is_address(source: str) -> bool:
    return source.startswith("sqlite:") or any(begins.match(source) for begins, _, _ in _SERVERS)


def _identifier(text: str) -> str:
    """Return a name made of a file's: what SQL would not take becomes _."""
    name = re.sub(r"\W", "_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def _split(path: Path) -> tuple[str, str]:
    """Return a file's name without its ending, and its ending, where .gz does not count."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return (path.name, "") if path.is_dir() else (bare.stem, bare.suffix.lower())


def _pattern(path: Path) -> str:
    """Return a path as a pattern that matches it alone."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def _begins(path: Path, magic: bytes, at: int = 0) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(at + len(magic))[at:] == magic
    except OSError as error:
        raise AttachmentError(f"{path} cannot be read: {error}.") from error
