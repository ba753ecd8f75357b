"""What `sa.open()` gives: a verb for each step, SQL, samples and exports. One directory holds all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synalign import config as c
from synalign.config import CATALOG_NAME, CONFIG_NAME, RunConfig
from synalign.errors import UsageError, WorkspaceNotFoundError
from synalign.reader import Reader, Snapshot
from synalign.session import Session
from synalign.verb import Verb, lazy

if TYPE_CHECKING:
    import polars as pl

    from synalign.steps.alignment import align as aligning
    from synalign.steps.alignment import check as checking
    from synalign.steps.alignment import score as scoring
    from synalign.steps.calling import estimate as estimating
    from synalign.steps.core.context import Context, Outcome, Progress
    from synalign.steps.corpus import documents, ingest
    from synalign.steps.corpus.training import TrainingData
    from synalign.steps.embedding import embed as embedding
    from synalign.steps.evaluation import evaluate as evaluating
    from synalign.steps.evaluation import text_quality as comparing
    from synalign.steps.evaluation.experiment import Analysis
    from synalign.steps.fsck.report import Report
    from synalign.steps.generation import annotate as annotating
    from synalign.steps.generation import generate as generating
    from synalign.steps.generation import reason as reasoning
    from synalign.steps.retrieval import ab as interleaving
    from synalign.steps.retrieval import rank, retriever
    from synalign.steps.selection import cluster as clustering
    from synalign.steps.selection import select as selecting
else:  # `import synalign` and questions in SQL do not wait for the libraries of steps.
    aligning, checking, scoring = lazy("synalign.steps.alignment", "align", "check", "score")
    (estimating,) = lazy("synalign.steps.calling", "estimate")
    documents, ingest = lazy("synalign.steps.corpus", "documents", "ingest")
    (embedding,) = lazy("synalign.steps.embedding", "embed")
    evaluating, comparing = lazy("synalign.steps.evaluation", "evaluate", "text_quality")
    annotating, generating, reasoning = lazy("synalign.steps.generation", "annotate", "generate", "reason")
    interleaving, rank, retriever = lazy("synalign.steps.retrieval", "ab", "rank", "retriever")
    clustering, selecting = lazy("synalign.steps.selection", "cluster", "select")


def open(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    wait: float = 0.0,
    settings: Mapping[str, Any] | None = None,
) -> Workspace:
    """Open the workspace in a folder. The folder is made by the first write.

    Args:
        path: of the folder.
        create: False demands that the workspace exists.
        progress: told of long work as (what, done, total); by default nothing is reported.
        notice: told what a user should know while a step is under way, such as a pause that an endpoint asks for; by
            default the logger "synalign" warns of it.
        wait: seconds to wait for another process that writes, or asks a language model, before WorkspaceBusyError.
        settings: settings to use in place of the configured ones, by dotted name: {"align.features": "auto"}. They are
            for this object alone, and are not written.

    Raises:
        UsageError: if `wait` is below 0.
        WorkspaceNotFoundError: if `create` is False and there is none; or if the path is a file, or a folder that
            holds other things.
        WorkspaceVersionError: if a newer version of this package wrote it. Nothing is changed.
        ConfigError: if its configuration is not valid.
    """
    return Workspace(Path(path), create=create, progress=progress, notice=notice, wait=wait, settings=settings)


def run(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    budget: str | None = None,
    report: Callable[[Outcome], None] | None = None,
    wait: float = 0.0,
    settings: Mapping[str, Any] | None = None,
) -> list[Outcome]:
    """Do all that a run file (TOML) says, or all steps of a workspace; what is done already is not done again.

    The file's settings become those of the workspace, but for `budget`, which is for this call. `report` is told of
    each outcome as its step ends. `wait` and
    `settings`: see `open`.

    Raises:
        UsageError: if there is no such file. Nothing is done then.
        ConfigError: if it is not valid. Nothing is done then.
        SynAlignError: if a step fails. What the steps before it wrote stays, and the next run goes on there.
    """
    file = Path(path).expanduser()
    if (file / CONFIG_NAME).is_file():
        workspace = open(file, create=False, progress=progress, notice=notice, wait=wait, settings=settings)
        plan = RunConfig(workspace=file, **dict(workspace.config))
    elif not file.exists():
        raise UsageError(
            f"There is no run file and no workspace at {path}. Give the path of a TOML file or of a folder."
        )
    else:
        plan = c.load(RunConfig, file)
        folder = file.parent / plan.workspace.expanduser()
        workspace = open(folder, progress=progress, notice=notice, wait=wait, settings=settings)
    return workspace.run(plan, base=file.parent, report=report, budget=budget)


class Workspace(Session):
    """One workspace. Steps return an `Outcome`; each does nothing, and says so, when its run exists already.

    A value that is given to a step overrides the configuration for that call; None stands for what is configured.
    Writing takes the workspace's lock: a second writer waits for it, if `open` was told to, or gets WorkspaceBusyError;
    readers are never blocked.
    """

    # Steps. What each takes, its request says (`synalign.config`), and `help(workspace.align)` shows.

    ingest = Verb(c.IngestRequest, lambda: ingest.ingest, ("source",), before=lambda: ingest.read)
    embed = Verb(c.EmbedRequest, lambda: embedding.embed)
    cluster = Verb(c.ClusterRequest, lambda: clustering.cluster)
    select = Verb(c.SelectRequest, lambda: selecting.select)
    estimate = Verb(c.EstimateRequest, lambda: estimating.estimate, writes=False)
    reason = Verb(c.ReasonRequest, lambda: reasoning.reason)
    generate = Verb(c.GenerateRequest, lambda: generating.generate)
    annotate = Verb(c.AnnotateRequest, lambda: annotating.annotate)
    align = Verb(c.AlignRequest, lambda: aligning.align)
    score = Verb(c.ScoreRequest, lambda: scoring.score)
    check = Verb(c.CheckRequest, lambda: checking.check)
    evaluate = Verb(c.EvaluateRequest, lambda: evaluating.evaluate)
    learning_curve = Verb(c.LearningCurveRequest, lambda: evaluating.learning_curve)
    text_quality = Verb(c.TextQualityRequest, lambda: comparing.text_quality)
    ingest_documents = Verb(
        c.IngestDocumentsRequest, lambda: documents.ingest_documents, ("source",), before=lambda: documents.read
    )
    train_retriever = Verb(c.TrainRetrieverRequest, lambda: retriever.train_retriever, first="name")
    evaluate_retrievers = Verb(c.EvaluateRetrieversRequest, lambda: rank.evaluate_retrievers, first="names")
    ab = Verb(c.AbRequest, lambda: interleaving.ab, ("a", "b"))
    analyse_experiment = Verb(
        c.AnalyseExperimentRequest, lambda: _record_analysis, ("source",), before=lambda: _analysed
    )

    def use_weights(self, weight_set: str) -> Outcome:
        """Make a named weight set the current one, which `synthetic_weighted`, samples, exports and training data show.

        Raises:
            NotReadyError: without weights.
            UsageError: if there is no such set.
        """
        from synalign.steps.alignment.weight_sets import use_set

        with self._writing():
            return use_set(self._context(), weight_set)

    def record(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Any]:
        """Write the replies of all calls to a file that `model = "replay/FILE"` answers from. See
        `synalign.steps.calling.recording`."""
        from synalign.steps.calling.recording import record

        with self._writing():
            return record(self._context(), Path(path), overwrite=overwrite)

    def restore(self, text: str) -> str:
        """Return a text in which placeholders stand for personal data (`llm.redact`) as it was."""
        from synalign.steps.calling.redaction import restore

        return restore(self._context(), text)

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
                llm = c.override(context.config.llm, {"budget": budget})
                context = replace(context, config=context.config.model_copy(update={"llm": llm}))
            for outcome in pipeline.run(context, steps, plan.rounds):
                note(outcome)
        return outcomes

    # Questions

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

    def retrieve(
        self, text: str | Sequence[str], k: int = 10, *, retriever: str | None = None, exact: bool = False
    ) -> pl.DataFrame:
        """Return the k best documents for a text or each of several: query, rank, id, score and text. See
        `synalign.steps.retrieval.retrieve`.

        Raises:
            UsageError: if a text is empty, k is below 1, or there is no such retriever.
            NotReadyError: if there are no documents, no retriever, or documents that it has not seen.
        """
        from synalign.steps.retrieval.retrieve import retrieve

        return retrieve(self._context(), text, k, retriever, exact=exact)

    def training_data(self, *, vectors: bool = False, synthetic_share: float = 0.5) -> TrainingData:
        """Return real and weighted synthetic records to train on. See `synalign.steps.corpus.training`."""
        from synalign.steps.corpus.training import training_data

        return training_data(self._context(), with_vectors=vectors, synthetic_share=synthetic_share)

    # Upkeep. All but `fsck` and a dry run write, and so take the workspace's lock.

    def exclude(self, where: str, *, reason: str = "") -> Outcome:
        """Take synthetic records out of every weighting, by a SQL condition over `synthetic`, such as
        "text like '%as an AI%'". Returns at once; `align` learns the weights of the others anew."""
        return self._verdict(where, reason, excluded=True)

    def include(self, where: str) -> Outcome:
        """Take back exclusions, by a SQL condition over `synthetic`."""
        return self._verdict(where, "", excluded=False)

    def forget(
        self, ids: Sequence[str] | str | None = None, *, where: str | None = None, dry_run: bool = False
    ) -> Outcome:
        """Take real records out for good, with all that was derived from them and quotes them, and prove that they are
        gone. See `synalign.steps.forget.plan` and docs/how-to/forget.md.

        Args:
            ids: of the records. where: instead, a SQL condition over `real`, such as "customer = 'c-17'".
            dry_run: say what would go, by table, and write nothing.

        Raises:
            UsageError: for both or none of ids and where, an id that is not there, or no record that matches.
            WorkspaceBusyError: if another process writes, or asks a language model. Nothing is done then.
            StoreError: if something is left, saying where.
        """
        from synalign.steps.forget.plan import forget, preview

        if (ids is None) == (where is None):
            raise UsageError("Say which records to forget: ids or where, one of them. Nothing was forgotten.")
        if dry_run:
            return preview(self._context(), self._real_ids(ids, where))
        if not (self.path / CONFIG_NAME).is_file():
            raise WorkspaceNotFoundError(f"There is no workspace in {self.path}.")
        with self._writing(), self._locks.nobody_calling():
            return forget(self._context(), self._real_ids(ids, where), self.path / CATALOG_NAME)

    def tag(self, name: str, at: str | datetime | None = None, *, note: str = "") -> dict[str, Any]:
        """Name the state that there is now, or another one. `gc` keeps what all tagged states need. A name that is
        taken moves.

        Raises:
            UsageError: if the name is not allowed, or `at` names no state.
            NotReadyError: if nothing was done yet.
        """
        from synalign.steps.lifecycle.history import tag

        with self._writing():
            return tag(self._context(), name, at, note)

    def untag(self, name: str) -> dict[str, Any]:
        """Take a tag away. The state stays, until `gc(superseded=True)` finds that nothing needs it.

        Raises:
            UsageError: if there is none of that name.
        """
        from synalign.steps.lifecycle.history import untag

        with self._writing():
            return untag(self._context(), name)

    def publish(self) -> Path:
        """Write `catalog.duckdb` anew, and return its path. Steps do this by themselves."""
        with self._writing():
            return self.path / CATALOG_NAME

    def gc(self, *, superseded: bool = False) -> dict[str, int]:
        """Drop rows of runs that never finished, old table versions, orphan files, and replies in the ledger that
        are safe in `calls`; and, if asked for, `superseded` runs. See `synalign.steps.lifecycle.gc`."""
        from synalign.steps.lifecycle.gc import gc

        with self._writing():
            return gc(self._context(), self._locks.only_caller(), superseded)

    def fsck(self) -> Report:
        """Check every promise that the tables and files keep, and say of each that is broken what to do; changes
        nothing. See `synalign.steps.fsck.check`."""
        from synalign.steps.fsck.check import fsck

        return fsck(self.path)

    def _verdict(self, where: str, reason: str, *, excluded: bool) -> Outcome:
        from synalign.steps.corpus.exclude import exclude
        from synalign.store.sql.query import matching

        with self._writing():
            with closing(self.connect()) as connection:  # A condition may name what is attached.
                found = matching(connection, where, excluded=not excluded)
            outcome = exclude(self._context(), found, reason or where, excluded=excluded)
        return outcome if excluded else replace(outcome, step="include")

    def _real_ids(self, ids: Sequence[str] | str | None, where: str | None) -> list[str]:
        from synalign.store.sql.query import matching_real

        if where is None:
            return sorted({ids} if isinstance(ids, str) else set(ids or ()))
        with closing(self.connect()) as connection:
            return matching_real(connection, where)


def _analysed(source: Any, request: c.AnalyseExperimentRequest) -> tuple[Any, ...]:
    from synalign.experiments.analysis import question
    from synalign.steps.evaluation import experiment

    given = {name: getattr(request, name) for name in type(request).model_fields if name not in ("metrics", "query")}
    asked = question(request.metrics, **given)
    return experiment.read(source, asked, request.query), asked


def _record_analysis(context: Context, found: tuple[Any, ...], _request: c.AnalyseExperimentRequest) -> Analysis:
    from synalign.steps.evaluation import experiment

    return experiment.record(context, *found)


__all__ = ["CATALOG_NAME", "Workspace", "open", "run"]
