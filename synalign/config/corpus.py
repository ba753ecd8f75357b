"""What is said of data that is brought in."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from synalign.config.base import CheckedFloat, Section


class IngestDocumentsRequest(Section):
    """Bring in the documents that queries are answered with.

    Records are queries: the label of a record is the id of the document that answers it. The source is a path (.csv,
    .tsv, .jsonl, .parquet, or .duckdb with a query), a polars or pandas frame, or an Arrow table. The same content
    again adds nothing.

    Raises:
        InputError, UsageError: saying what is wrong and where, such as an id that is known already with another text.
            Nothing is written then.
    """

    text: str = Field(default="text", description="Column that holds the text; all other columns are kept.")
    id: str = Field(default="id", description="Column that holds the id, which the labels of records refer to.")
    query: str | None = Field(default=None, description="SQL to run over a DuckDB file; its result is ingested.")
    skip_empty: bool = Field(default=False, description="Leave out rows without text, rather than refuse the file.")


class IngestRequest(Section):
    """Bring in labelled text. The same content again adds nothing.

    The source is a path (.csv, .tsv, .jsonl, .parquet, or .duckdb with a query), a polars or pandas frame, or an Arrow
    table. All its columns are kept. Without an id column, the id of a record is a hash of its content, and rows that
    are repeated become one record with a multiplicity.

    Raises:
        InputError, UsageError: saying what is wrong and where. Nothing is written then.
    """

    text: str = Field(default="text", description="Column that holds the text.")
    label: str | None = Field(default=None, description="Column that holds the label.")
    id: str | None = Field(default=None, description="Column that holds the id; unset: a hash of the content.")
    split: str | None = Field(
        default=None, description="Column that holds the split: train, validation or test; unset: all are train."
    )
    synthetic: bool = Field(
        default=False, description="The text was generated: it gets weights, and is never used as a demonstration."
    )
    skip_empty: bool = Field(default=False, description="Leave out rows without text, rather than refuse the file.")
    query: str | None = Field(default=None, description="SQL to run over a DuckDB file; its result is ingested.")
    test_share: CheckedFloat | None = Field(
        default=None, description="Share of the records to put into the test split, chosen by the hash of the id."
    )


class Source(IngestRequest):
    """One file to ingest, as a `[[sources]]` table of a run file."""

    path: Path = Field(description="Path of the file; a relative one starts from the folder of the run file.")
    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the records to put into the test split, chosen by the hash of the id.",
    )
