"""What `sa.open()` gives: one method for each step, SQL, samples and exports. One directory holds all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign import config as configuration
from synalign.config import CATALOG_NAME, CONFIG_NAME, Config, RunConfig
from synalign.errors import SynAlignError, UsageError, WorkspaceNotFoundError
from synalign.evaluation import Evaluation
from synalign.experiment_verbs import Experiments
from synalign.reader import Reader, Snapshot
from synalign.retrieval import Retrieval
from synalign.upkeep import Upkeep
from synalign.verbs import Verbs

if TYPE_CHECKING:
    import polars as pl
    from duckdb import DuckDBPyConnection

    from synalign.steps.core.context import Context, Outcome, Progress
    from synalign.steps.corpus.training import TrainingData
    from synalign.store.lake.journal import Moment
    from synalign.store.sql.attachments import Attachments


def open(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    wait: float = 0.0,
) -> Workspace:
    """Open the workspace in a folder. The folder is made by the first write.

    Args:
        path: of the folder.
        create: False demands that the workspace exists.
        progress: told of long work as (what, done, total); by default nothing is reported.
        notice: told what a user should know while a step is under way, such as a pause that an endpoint asks for; by
            default the logger "synalign" warns of it.
        wait: seconds to wait for another process that writes, or asks a language model, before WorkspaceBusyError.

    Raises:
        UsageError: if `wait` is below 0.
        WorkspaceNotFoundError: if `create` is False and there is none; or if the path is a file, or a folder that
            holds other things.
        WorkspaceVersionError: if a newer version of this package wrote it. Nothing is changed.
        ConfigError: if its configuration is not valid.
    """
    return Workspace(Path(path), create=create, progress=progress, notice=notice, wait=wait)


def run(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    budget: str | None = None,
    report: Callable[[Outcome], None] | None = None,
    wait: float = 0.0,
) -> list[Outcome]:
    """Do all that a run file (TOML) says, or all steps of a workspace; what is done already is not done again.

    The file's settings become those of the workspace, but for `budget`, which is for this call. `report` is told of
    each outcome as its step ends. `wait`: see `open`.

    Raises:
        UsageError: if there is no such file. Nothing is done then.
        ConfigError: if it is not valid. Nothing is done then.
        SynAlignError: if a step fails. What the steps before it wrote stays, and the next run goes on there.
    """
    file = Path(path).expanduser()
    if (file / CONFIG_NAME).is_file():
        workspace = open(file, create=False, progress=progress, notice=notice, wait=wait)
        plan = RunConfig(workspace=file, **dict(workspace.config))
    elif not file.exists():
        raise UsageError(
            f"There is no run file and no workspace at {path}. Give the path of a TOML file or of a folder."
        )
    else:
        plan = configuration.load(RunConfig, file)
        workspace = open(file.parent / plan.workspace.expanduser(), progress=progress, notice=notice, wait=wait)
    return workspace.run(plan, base=file.parent, report=report, budget=budget)


class Workspace(Verbs, Evaluation, Retrieval, Experiments, Upkeep):
    """One workspace. Steps return an `Outcome`; each does nothing, and says so, when its run exists already.

    A value given to a step overrides the configuration for that call. Writing takes the workspace's lock: a second
    writer waits for it, if `open` was told to, or gets WorkspaceBusyError; readers are never blocked.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
        wait: float = 0.0,
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
        self.config = configuration.load(Config, path / CONFIG_NAME) if (path / CONFIG_NAME).is_file() else Config()
        self._progress = progress
        self._notice = notice
        self._lake = Lake(path / "lance")
        self._ledger = Ledger(path / "ledger.sqlite")
        self._locks = Locks(path, wait, self._tell)
        self._attachments: Attachments | None = None

    def __repr__(self) -> str:
        """The path."""
        return f"Workspace({str(self.path)!r})"

    # Steps

    def configure(self, config: Config) -> None:
        """Make `config` the configuration, and write it to `synalign.toml`."""
        with self._writing():
            self._write_config(config)

    def run(
        self,
        plan: RunConfig,
        base: Path = Path(),
        report: Callable[[Outcome], None] | None = None,
        budget: str | None = None,
    ) -> list[Outcome]:
        """Do the steps of a run configuration in order; relative source paths start from `base`."""
        from synalign import pipeline

        steps = pipeline.chosen(plan.steps, plan.rounds)
        outcomes: list[Outcome] = []

        def note(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if report is not None:
                report(outcome)

        with self._writing():
            self._write_config(plan.settings())
            if pipeline.INGEST in steps:
                for source in plan.sources:
                    given = source.model_dump(exclude={"path"})
                    note(self.ingest(base / source.path.expanduser(), **given))
            context = self._context()
            if budget is not None:
                llm = configuration.override(self.config.llm, {"budget": budget})
                context = replace(context, config=self.config.model_copy(update={"llm": llm}))
            for outcome in pipeline.run(context, steps, plan.rounds):
                note(outcome)
        return outcomes

    # Questions

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

    def at(self, reference: str | datetime) -> Snapshot:
        """Return the workspace as it was after a run, at a time (UTC where it has no zone), or at a tag. Records that
        were forgotten since are not in it.

        Raises:
            UsageError: if nothing is called so, or there was nothing then.
        """
        from synalign.steps.lifecycle.history import moment

        return Snapshot(self, moment(self._context(), reference))

    def diff(self, before: str | datetime, after: str | datetime | None = None) -> pl.DataFrame:
        """Return what differs between two states, by default that one and now. See
        `synalign.steps.lifecycle.history.difference`; what names a state, `at` says.

        Raises:
            UsageError: if nothing is called so.
        """
        from synalign.steps.lifecycle.history import difference

        later: Reader = self if after is None else self.at(after)
        with closing(self.at(before).connect()) as one, closing(later.connect()) as other:
            return difference(one, other)

    def status(self) -> dict[str, Any]:
        """Return what is in the workspace: records of each side, and for each step its current run."""
        from synalign.steps.lifecycle.status import status

        return status(self._context())

    def search(
        self,
        text: str | None = None,
        *,
        id: str | None = None,
        k: int = 10,
        origin: str | None = None,
        embedder: str | None = None,
    ) -> pl.DataFrame:
        """Return the k records nearest to a text, or to the record with that id. See `synalign.steps.corpus.search`."""
        from synalign.steps.corpus.search import search

        return search(self._context(), text, id, k, origin, embedder)

    def training_data(self, *, vectors: bool = False, synthetic_share: float = 0.5) -> TrainingData:
        """Return real and weighted synthetic records to train on. See `synalign.steps.corpus.training`."""
        from synalign.steps.corpus.training import training_data

        return training_data(self._context(), with_vectors=vectors, synthetic_share=synthetic_share)

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
            self.config,
            self._lake,
            Journal(self._lake),
            self._ledger,
            self._progress or quiet,
            self._tell,
            self._locks.calling,
        )

    def _tell(self, text: str) -> None:
        from synalign.steps.core.context import logged

        (self._notice or logged)(text)

    def _write_config(self, config: Config) -> None:
        path = self.path / CONFIG_NAME
        text = configuration.dumps(config)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            from synalign.store.disk import atomic_write

            atomic_write.write(path, text)
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


__all__ = ["CATALOG_NAME", "Workspace", "open", "run"]
