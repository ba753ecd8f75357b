"""A/B tests of two retrievers, offline, and the analysis of a real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synalign.steps.core.context import Context, Outcome
    from synalign.steps.evaluation.experiment import Analysis


class Experiments:
    """One method for each."""

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError

    def ab(
        self,
        a: str,
        b: str,
        *,
        queries: str = "test",
        click_model: str = "navigational",
        depth: int = 10,
        passes: int = 1,
        shared: bool = False,
        alpha: float = 0.05,
        power: float = 0.8,
        min_lift: float = 0.02,
        seed: int | None = None,
    ) -> Outcome:
        """Compare two retrievers offline: their rankings of the test queries interleaved, clicks of simulated users,
        and a test that may be looked at after every query. See `synalign.steps.retrieval.ab`, whose `summary` says
        what was found in words.

        Raises:
            UsageError: if a value is out of range, both retrievers are one, or one has no rankings.
            NotReadyError: if there are no rankings, or no query that both ranked.
        """
        from synalign.steps.retrieval.ab import ab

        with self._writing():
            return ab(
                self._context(),
                a,
                b,
                queries=queries,
                click_model=click_model,
                depth=depth,
                passes=passes,
                shared=shared,
                alpha=alpha,
                power=power,
                min_lift=min_lift,
                seed=seed,
            )

    def analyse_experiment(
        self,
        source: Any,
        *,
        metrics: Mapping[str, Any] | Iterable[str],
        query: str | None = None,
        experiment: str | None = None,
        user: str = "user_id",
        arm: str = "arm",
        control: str = "A",
        alpha: float = 0.05,
        correction: str = "holm",
        time: str | None = None,
        shares: Mapping[str, float] | None = None,
        crossed: str = "refuse",
    ) -> Analysis:
        """Analyse the log of a real experiment: for each metric and arm the lift over the control with its interval,
        corrected for their number. The unit is the user. What is found is written to the relation `experiments`, the
        log is not.

        Args:
            source: a Parquet, CSV or JSON Lines file, a folder of Parquet files, a frame, a DuckDB file, or what else
                `attach` takes.
            metrics: {"orders": "orders", "ctr": ("clicks", "impressions")}: a mean over users of what a column adds up
                to, or the ratio of two sums.
            query: SQL over the source; a file or a frame is called `log` in it.
            experiment: the one to analyse, by the column `experiment`.
            user, arm: the columns of the unit, and of what it was assigned to.
            correction: "holm" (any false alarm), "bh" (their share), or "none".
            time: the column of an event's time, which says how long the log is.
            shares: the arms that users were to come into, {"A": 0.9, "B": 0.1}; equal if not given.
            crossed: "drop" leaves out users who were seen in two arms, which are an error otherwise.

        Raises:
            UsageError: if a column or an arm does not exist, or a value is not allowed.
            AttachmentError: if the source cannot be read.
            InputError: if the log does not hold what the analysis needs; the message says what. Nothing is written.
        """
        from synalign.steps.evaluation import experiment as step

        asked = step.question(
            metrics,
            experiment=experiment,
            user=user,
            arm=arm,
            control=control,
            alpha=alpha,
            correction=correction,
            time=time,
            shares=shares,
            crossed=crossed,
        )
        frame, figures, notes = step.analyse(source, asked, query)  # may take long, and needs no lock
        with self._writing():
            return step.record(self._context(), frame, figures, asked, notes)
