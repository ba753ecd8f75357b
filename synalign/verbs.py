"""The steps as methods of a workspace: what each takes, and where it is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpytorch.kernels import Kernel

    from synalign.steps.alignment.check import Check
    from synalign.steps.calling.estimate import Estimate
    from synalign.steps.core.context import Context, Outcome


class Verbs:
    """One method for each step. A value that is given overrides the configuration for that call; each does nothing,
    and says so, when its run exists already."""

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError

    def ingest(
        self,
        source: Any,
        *,
        text: str = "text",
        label: str | None = None,
        id: str | None = None,
        split: str | None = None,
        synthetic: bool = False,
        skip_empty: bool = False,
        query: str | None = None,
        test_share: float | None = None,
    ) -> Outcome:
        """Bring in labelled text. The same content again adds nothing.

        Args:
            source: a path (.csv, .tsv, .jsonl, .parquet, or .duckdb with a query), a polars or pandas frame, or an
                Arrow table.
            text, label, id, split: the columns with that meaning; all other columns are kept. Without an id, the id
                is a hash of the content and repeated rows become a multiplicity.
            synthetic: whether the text was generated; it is then weighted, and never shown as a demonstration.
            skip_empty: leave out rows without text, rather than refuse the file.
            query: SQL over a DuckDB file.
            test_share: put this share of the records, by the hash of the id, into the test split.

        Raises:
            InputError, UsageError: saying what is wrong and where. Nothing is written then.
        """
        from synalign.steps.corpus import ingest as step
        from synalign.store.files.records import Columns

        records = step.read(
            source,
            Columns(text, label, id, split),
            synthetic=synthetic,
            skip_empty=skip_empty,
            test_share=test_share,
            query=query,
        )
        with self._writing():
            return step.ingest(self._context(), records, synthetic=synthetic)

    def embed(
        self,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        refit: bool = False,
    ) -> Outcome:
        """Embed all records that have no vector yet. See `synalign.steps.embedding.embed.embed`."""
        from synalign.steps.embedding.embed import embed

        with self._writing():
            return embed(self._context(), model=model, dimensions=dimensions, base_url=base_url, refit=refit)

    def cluster(
        self,
        *,
        k: int | None = None,
        by_label: bool | None = None,
        embedder: str | None = None,
        refit: bool = False,
    ) -> Outcome:
        """Cluster the real training records. See `synalign.steps.selection.cluster.cluster`."""
        from synalign.steps.selection.cluster import cluster

        with self._writing():
            return cluster(self._context(), k=k, by_label=by_label, embedder=embedder, refit=refit)

    def select(
        self,
        *,
        budget: int | None = None,
        unit: str | None = None,
        demonstrations: int | None = None,
        show: str | None = None,
        kernel: str | Kernel | None = None,
        length_scale: float | str | None = None,
        ard: bool | None = None,
        noise: float | None = None,
        beta: float | None = None,
        label_shares: str | dict[str, float] | None = None,
        min_per_label: int | None = None,
        min_variance: float | None = None,
        min_gain: float | None = None,
        batch: int | None = None,
        guide: str | None = None,
        round: int | str | None = None,
        embedder: str | None = None,
        refit: bool = False,
    ) -> Outcome:
        """Select where the Gaussian process is uncertain, and demonstrations there. See
        `synalign.steps.selection.select`, and `synalign.config.Select` for what each setting means. `kernel` may be
        any gpytorch kernel."""
        from synalign.steps.selection.select import select

        with self._writing():
            return select(
                self._context(),
                budget=budget,
                unit=unit,
                demonstrations=demonstrations,
                show=show,
                kernel=kernel,
                length_scale=length_scale,
                ard=ard,
                noise=noise,
                beta=beta,
                label_shares=label_shares,
                min_per_label=min_per_label,
                min_variance=min_variance,
                min_gain=min_gain,
                batch=batch,
                guide=guide,
                round=round,
                embedder=embedder,
                refit=refit,
            )

    def estimate(self, *, model: str | None = None, base_url: str | None = None) -> Estimate:
        """Say what `reason` and `generate` would cost, from a sample of the prompts. See
        `synalign.steps.calling.estimate`."""
        from synalign.steps.calling.estimate import estimate

        return estimate(self._context(), model=model, base_url=base_url)

    def reason(
        self,
        *,
        model: str | None = None,
        base_url: str | None = None,
        budget: str | None = None,
        batch: bool | None = None,
    ) -> Outcome:
        """Have the language model state the attributes of each selection. See `synalign.steps.generation.reason`.

        Others may write to the workspace while calls are under way. `budget`, such as "5usd" or "200000tokens", is for
        all calls of the workspace; `batch` asks through the provider's batch API.
        """
        from synalign.steps.generation.reason import reason

        with self._writing():
            return reason(self._context(), model=model, base_url=base_url, budget=budget, batch=batch)

    def generate(
        self,
        *,
        per_selection: int | None = None,
        recombined: int | None = None,
        from_demonstrations: int | None = None,
        from_documents: int | None = None,
        model: str | None = None,
        base_url: str | None = None,
        budget: str | None = None,
        batch: bool | None = None,
    ) -> Outcome:
        """Have the language model write new records, and check them. See `synalign.steps.generation.generate`, and
        `synalign.config.Generate` and `Accept` for what each setting means."""
        from synalign.steps.generation.generate import generate

        with self._writing():
            return generate(
                self._context(),
                per_selection=per_selection,
                recombined=recombined,
                from_demonstrations=from_demonstrations,
                from_documents=from_documents,
                model=model,
                base_url=base_url,
                budget=budget,
                batch=batch,
            )

    def annotate(
        self,
        *,
        sample: int | None = None,
        origin: str = "real",
        model: str | None = None,
        base_url: str | None = None,
        budget: str | None = None,
        batch: bool | None = None,
    ) -> Outcome:
        """Have the language model state the attributes of single records. See `synalign.steps.generation.annotate`."""
        from synalign.steps.generation.annotate import annotate

        with self._writing():
            return annotate(
                self._context(),
                sample=sample,
                origin=origin,
                model=model,
                base_url=base_url,
                budget=budget,
                batch=batch,
            )

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

    def align(
        self,
        *,
        strength: float | str | None = None,
        features: int | str | None = None,
        kernel: str | None = None,
        bandwidths: Sequence[float] | float | None = None,
        by_label: bool | None = None,
        match: Sequence[str] | str | None = None,
        quality: bool | None = None,
        label_shares: str | dict[str, float] | None = None,
        max_weight_ratio: float | None = None,
        min_effective_share: float | None = None,
        duplicates: float | None = None,
        prior: str | None = None,
        weight_set: str | None = None,
        embedder: str | None = None,
        device: str | None = None,
    ) -> Outcome:
        """Learn one sampling weight for each synthetic record. See `synalign.steps.alignment.align`, and
        `synalign.config.Align` for what each setting means."""
        from synalign.steps.alignment.align import align

        with self._writing():
            return align(
                self._context(),
                strength=strength,
                features=features,
                kernel=kernel,
                bandwidths=bandwidths,
                by_label=by_label,
                match=match,
                quality=quality,
                label_shares=label_shares,
                max_weight_ratio=max_weight_ratio,
                min_effective_share=min_effective_share,
                duplicates=duplicates,
                prior=prior,
                weight_set=weight_set,
                embedder=embedder,
                device=device,
            )

    def score(self, *, weight_set: str | None = None, into: str | None = None) -> Outcome:
        """Weight all synthetic records, new ones too, by the stored dual vectors of a weight set, without refitting,
        as a new set. See `synalign.steps.alignment.score`."""
        from synalign.steps.alignment.score import score

        with self._writing():
            return score(self._context(), weight_set=weight_set, into=into)

    def use_weights(self, weight_set: str) -> Outcome:
        """Make a named weight set the current one. See `synalign.steps.alignment.weight_sets`."""
        from synalign.steps.alignment.weight_sets import use_set

        with self._writing():
            return use_set(self._context(), weight_set)

    def check(
        self,
        *,
        weight_set: str | None = None,
        max_mmd_ratio: float | None = None,
        min_ess: float | None = None,
        max_auc: float | None = None,
    ) -> Check:
        """Say whether a weight set keeps these limits, and why not. See `synalign.steps.alignment.check`."""
        from synalign.steps.alignment.check import check

        with self._writing():
            return check(
                self._context(), weight_set=weight_set, max_mmd_ratio=max_mmd_ratio, min_ess=min_ess, max_auc=max_auc
            )
