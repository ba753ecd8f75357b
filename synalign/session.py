"""An open workspace without its verbs: its configuration, tables, ledger and locks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign import config as c
from synalign.config import CATALOG_NAME, CONFIG_NAME, Config
from synalign.errors import SynAlignError, UsageError, WorkspaceNotFoundError
from synalign.reader import Reader

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from synalign.steps.core.context import Context, Progress
    from synalign.store.lake.journal import Moment
    from synalign.store.sql.attachments import Attachments


class Session(Reader):
    """What the verbs of a workspace share: they read its context, and write while they hold its lock."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
        wait: float = 0.0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        from synalign.store.lake import format
        from synalign.store.lake.lake import Lake
        from synalign.store.ledger.ledger import Ledger
        from synalign.store.ledger.locks import WRITING, Locks

        if not wait >= 0:
            raise UsageError(f"wait is a number of seconds, 0 or more; given: {wait!r}.")
        # Absolute, since a process may change its folder, and without ~, which libraries below would read differently.
        self.path = path = Path(os.path.abspath(path.expanduser()))
        if path.is_file():
            raise WorkspaceNotFoundError(f"{path} is a file. A workspace is a folder; give its path.")
        there = (path / CONFIG_NAME).is_file() or (path / "lance").is_dir()
        if not there and not create:
            raise WorkspaceNotFoundError(
                f"There is no workspace in {path}.{_nearby(path)} 'synalign init {path}' makes one."
            )
        if not there and path.is_dir() and any(path.iterdir()) and not (path / WRITING).exists():
            raise WorkspaceNotFoundError(
                f"The folder {path} holds other things and no workspace. Give a new folder, so that nothing is mixed."
            )
        if there or path.is_dir():
            # Before the configuration, into which a newer version may have written what this one does not know.
            format.require_readable(path)
        self.config = c.load(Config, path / CONFIG_NAME) if (path / CONFIG_NAME).is_file() else Config()
        self._settings = dict(settings or {})
        self._configured()  # An error of the settings comes before any work.
        self._progress = progress
        self._notice = notice
        self._lake = Lake(path / "lance")
        self._ledger = Ledger(path / "ledger.sqlite")
        self._locks = Locks(path, wait, self._tell)
        self._attachments: Attachments | None = None

    def __repr__(self) -> str:
        """The path."""
        return f"Workspace({str(self.path)!r})"

    def configure(self, config: Config) -> None:
        """Make `config` the configuration, and write it to `synalign.toml`."""
        with self._writing():
            self._write_config(config)

    def attach(self, source: Any, name: str | None = None) -> str:
        """Put tables of your own beside the relations, for every later `sql` and `connect`; return their name there.

        They are read, never written, and are attached to this object: nothing of it is kept on disk. `source` is

        - a DuckDB file, or the folder of another workspace: `name.table`;
        - a Parquet, CSV or JSON Lines file, or a folder of Parquet files: `name`;
        - a polars (eager or lazy) or pandas frame or an Arrow table, with a name: `name`;
        - a SQLite file, "postgresql://..." or "mysql://...", through DuckDB's extension, if it is installed:
          `name.table`.

        Raises:
            UsageError: if its kind is not known, or the name is none, is taken, or is needed and was not given.
            AttachmentError: if it is missing, damaged, locked by a writer, or needs an extension that is not installed.
        """
        return self._attached().attach(source, name)

    def detach(self, name: str) -> None:
        """Leave out what was attached under that name.

        Raises:
            UsageError: if nothing was.
        """
        self._attached().detach(name)

    def _relations(self, wanted: Collection[str] | None = None) -> DuckDBPyConnection:
        return self._connect(None, wanted)

    def _attached(self) -> Attachments:
        from synalign.store.sql.attachments import Attachments

        if self._attachments is None:
            self._attachments = Attachments()
        return self._attachments

    def _connect(self, moment: Moment | None, wanted: Collection[str] | None) -> DuckDBPyConnection:
        from synalign.store.sql import query as surface

        return surface.connect(self._lake, self._ledger, self.config.task.labels, moment, wanted)

    def _context(self) -> Context:
        from synalign.steps.core.context import Context, quiet
        from synalign.store.lake.journal import Journal

        return Context(
            self.path,
            self._configured(),
            self._lake,
            Journal(self._lake),
            self._ledger,
            self._progress or quiet,
            self._tell,
            self._locks.calling,
        )

    def _configured(self) -> Config:
        """Return the configuration, with the settings that are for this object alone."""
        if not self._settings:
            return self.config
        whole = self.config.model_dump()
        for name, value in self._settings.items():
            *path, key = name.split(".")
            place = whole
            for part in path:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise UsageError(f"{name!r} is no setting: {part!r} has a value, and no keys.")
            place[key] = value
        return c.parse(Config, whole, "the settings given")

    def _tell(self, text: str) -> None:
        from synalign.steps.core.context import logged

        (self._notice or logged)(text)

    def _write_config(self, config: Config) -> None:
        path = self.path / CONFIG_NAME
        text = c.dumps(config)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            from synalign.store.disk import atomic_write

            atomic_write.write_text(path, text)
        self.config = config

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the workspace's lock, bring its tables up to date and finish what was being forgotten first, and publish
        the catalog at the end of the outermost use if anything changed."""
        from synalign.steps.forget.execute import resume
        from synalign.steps.lifecycle.publish import publish_if_stale
        from synalign.store.disk.links import require_inside
        from synalign.store.lake.migrations import bring_up_to_date

        with self._locks.writing() as outermost:
            if not outermost:
                yield
                return
            try:
                require_inside(self.path, self._lake.path)
                bring_up_to_date(self.path, self._lake, self._ledger)
                if not (self.path / CONFIG_NAME).is_file():
                    self._write_config(self.config)
                resume(self._context(), self.path / CATALOG_NAME)
                try:
                    yield
                except SynAlignError as failure:
                    if not self._locks.held:  # another process writes, and publishes
                        raise
                    # What was done before a step failed is there to be queried; that is not to hide why it failed.
                    try:
                        publish_if_stale(self._context(), self.path / CATALOG_NAME)
                    except SynAlignError as error:
                        failure.add_note(f"The catalog could not be published either: {error}")
                    raise
                publish_if_stale(self._context(), self.path / CATALOG_NAME)
            finally:
                self._ledger.close()


def _nearby(path: Path) -> str:
    import difflib

    parent = path.resolve().parent
    if not parent.is_dir():
        return ""
    names = [entry.name for entry in parent.iterdir() if (entry / CONFIG_NAME).is_file()]
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f" Did you mean {', '.join(str(path.parent / name) for name in close)}?" if close else ""
