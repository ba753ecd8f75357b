"""Retrieval: documents, and retrievers that are trained on queries for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from synalign.steps.core.context import Context, Outcome


class Retrieval:
    """One method for each. A record's label is the id of the document that answers it. See docs/how-to/retrieval.md."""

    def _writing(self) -> AbstractContextManager[None]:
        """Hold the workspace's lock."""
        raise NotImplementedError

    def _context(self) -> Context:
        """Return the workspace as steps see it."""
        raise NotImplementedError

    def ingest_documents(
        self,
        source: Any,
        *,
        text: str = "text",
        id: str = "id",
        query: str | None = None,
        skip_empty: bool = False,
    ) -> Outcome:
        """Bring in documents, which records are queries for: a record's label is the id of the one that answers it.

        Args:
            source: a path (.csv, .tsv, .jsonl, .parquet, or .duckdb with a query), a polars or pandas frame, or an
                Arrow table.
            text, id: the columns with that meaning; all other columns are kept.
            query: SQL over a DuckDB file.
            skip_empty: leave out rows without text, rather than refuse the file.

        Raises:
            InputError, UsageError: saying what is wrong and where, such as an id that stands for another text. Nothing
                is written then.
        """
        from synalign.steps.corpus import documents as step

        found = step.read(source, text=text, id=id, skip_empty=skip_empty, query=query)
        with self._writing():
            return step.ingest_documents(self._context(), found)

    def train_retriever(
        self,
        name: str | None = None,
        *,
        on: str | None = None,
        share: float | str | None = None,
        epochs: int | None = None,
        index: str | None = None,
        index_from: int | None = None,
        index_recall: float | None = None,
    ) -> Outcome:
        """Train a retriever, and index the documents as it sees them. See `synalign.steps.retrieval.retriever`, and
        `synalign.config.Retrieve` for what each setting means.

        Args:
            name: what to call it; by default what it is trained on. Training under a name again replaces it.

        Raises:
            NotReadyError: without documents, or the queries or weights to train on.
            InputError: if records have labels that are no document's id.
            ConfigError: if a setting is not allowed.
        """
        from synalign.steps.retrieval.retriever import train_retriever

        with self._writing():
            return train_retriever(
                self._context(),
                name,
                on=on,
                share=share,
                epochs=epochs,
                index=index,
                index_from=index_from,
                index_recall=index_recall,
            )

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

    def evaluate_retrievers(
        self,
        names: Sequence[str] | None = None,
        *,
        k: Sequence[int] | None = None,
        baseline: str | None = None,
        allow_overlap: bool = False,
    ) -> Outcome:
        """Rank the documents for the queries of the test split, and compare retrievers query by query. See
        `synalign.steps.retrieval.rank`, and the relations `retrieval_summary` and `rankings`.

        Raises:
            NotReadyError: if there are no documents, retrievers or test queries.
            UsageError: for a retriever that is not there, a k below 1, or test queries that are training texts.
            InputError: if records have labels that are no document's id.
        """
        from synalign.steps.retrieval.rank import RECALL_AT, evaluate_retrievers

        with self._writing():
            wanted = RECALL_AT if k is None else tuple(k)
            return evaluate_retrievers(self._context(), names, wanted, baseline, allow_overlap)
