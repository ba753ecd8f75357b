"""What tells whether the synthetic records help: models trained on them, and the text itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synalign.steps.core.context import Context, Outcome


class Evaluation:
    """One method for each."""

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError

    def evaluate(
        self,
        *,
        model: str | None = None,
        settings: dict[str, Any] | None = None,
        seeds: int | None = None,
        real: int | None = None,
        synthetic: int | None = None,
        train_share: float | None = None,
        methods: Sequence[str] | None = None,
        overlap: str | None = None,
        embedder: str | None = None,
    ) -> Outcome:
        """Train a model on real records, on synthetic ones, and on mixtures of them, and judge each on the test split;
        `ws.sql("from ablation")` is the table. See `synalign.steps.evaluation.evaluate`, and
        `synalign.config.Evaluate` for what each setting means."""
        from synalign.steps.evaluation.evaluate import evaluate

        with self._writing():
            return evaluate(
                self._context(),
                model=model,
                settings=settings,
                seeds=seeds,
                real=real,
                synthetic=synthetic,
                train_share=train_share,
                methods=methods,
                overlap=overlap,
                embedder=embedder,
            )

    def learning_curve(
        self,
        *,
        sizes: Sequence[int] | None = None,
        model: str | None = None,
        settings: dict[str, Any] | None = None,
        seeds: int | None = None,
        synthetic: int | None = None,
        train_share: float | None = None,
        methods: Sequence[str] | None = None,
        overlap: str | None = None,
        embedder: str | None = None,
    ) -> Outcome:
        """Do so for several numbers of real records: how many real labels the synthetic records are worth;
        `ws.sql("from learning_curve")` is the table. See `synalign.steps.evaluation.evaluate.learning_curve`."""
        from synalign.steps.evaluation.evaluate import learning_curve

        with self._writing():
            return learning_curve(
                self._context(),
                sizes=sizes,
                model=model,
                settings=settings,
                seeds=seeds,
                synthetic=synthetic,
                train_share=train_share,
                methods=methods,
                overlap=overlap,
                embedder=embedder,
            )

    def text_quality(self, *, weight_set: str | None = None, sample: int = 2_000, seed: int | None = None) -> Outcome:
        """Compare real, raw and weighted texts: how varied they are, their form, how near to real text, what of it they
        repeat. The view `text_quality` shows it. See `synalign.steps.evaluation.text_quality`."""
        from synalign.steps.evaluation.text_quality import text_quality

        with self._writing():
            return text_quality(self._context(), weight_set=weight_set, sample=sample, seed=seed)
