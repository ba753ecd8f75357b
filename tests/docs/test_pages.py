"""What the README, the tutorial and the how-to pages show runs, and prints what they say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests.docs import pages
from tests.once import made_once

#: The page in a copy of whose folder a page runs, to continue with the workspaces there. None: only fixtures/ is there.
STARTS_FROM = {
    "README.md": None,
    "docs/tutorial.md": None,
    "docs/how-to/bring-data.md": "README.md",
    "docs/how-to/generate.md": None,
    "docs/how-to/weights-in-sql.md": "docs/how-to/generate.md",
    "docs/how-to/evaluate.md": "README.md",
    "docs/how-to/retrieval.md": None,
    "docs/how-to/online-test.md": "README.md",
    "docs/how-to/earlier-states.md": "README.md",
    "docs/how-to/forget.md": "README.md",
    "docs/how-to/workspace.md": "README.md",
    "docs/how-to/command-line.md": None,
}
#: Its code is run by tests/test_examples.py, which looks at the answers as well.
ELSEWHERE = {"docs/how-to/join.md"}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder in which a page has run, running it first if need be."""
    done: dict[str, Path] = {}

    def find(page: str) -> Path:
        if page not in done:
            done[page] = made_once(tmp_path_factory, page.replace("/", "-"), lambda folder: _fill(page, folder))
        return done[page]

    def _fill(page: str, folder: Path) -> None:
        shutil.copytree(pages.ROOT / "fixtures", folder / "fixtures", ignore=shutil.ignore_patterns("workspaces"))
        for start in _starts(page):
            shutil.copytree(find(start), folder, dirs_exist_ok=True)
        pages.run(page, folder)

    return find


def _starts(page: str) -> list[str]:
    # The page on weights in SQL asks both of the README's workspace and of one with generated records.
    start = STARTS_FROM[page]
    return [] if start is None else [start] if start == "README.md" else ["README.md", start]


@pytest.mark.parametrize("page", STARTS_FROM)
def test_a_page_runs(page: str, folder_of: Callable[[str], Path]) -> None:
    assert pages.blocks(page), "a page without code needs no test"
    folder_of(page)


def test_every_page_with_code_is_run() -> None:
    how_to = sorted(path.relative_to(pages.ROOT).as_posix() for path in (pages.ROOT / "docs" / "how-to").glob("*.md"))
    assert set(how_to) == {page for page in {*STARTS_FROM, *ELSEWHERE} if page.startswith("docs/how-to/")}


def test_files_that_pages_write_are_there(folder_of: Callable[[str], Path]) -> None:
    weights = folder_of("docs/how-to/weights-in-sql.md")
    assert pl.read_parquet(weights / "drawn.parquet").height == 500
    assert (weights / "drawn.parquet.md").is_file()
    shell = folder_of("docs/how-to/command-line.md")
    for name in ("weighted.csv", "replies.jsonl", "ablation.md", "ablation.svg", "curve.png"):
        assert (shell / name).is_file(), name


def test_drawn_samples_have_the_size_that_was_asked_for(folder_of: Callable[[str], Path]) -> None:
    """The figures of two queries of docs/how-to/weights-in-sql.md, which only has to find something there."""
    catalog = folder_of("docs/how-to/weights-in-sql.md") / "support" / "catalog.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as connection:
        for query in (
            "sample_synthetic(200, seed := 7)",
            "sample_training_mix(200, synthetic_share := 0.3, seed := 7)",
        ):
            assert connection.execute(f"select sum(copies) from {query}").fetchall() == [(200,)]


def test_a_page_that_says_what_is_not_printed_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(page.format("2"), encoding="utf-8")
    pages.run("page.md", tmp_path)
    (tmp_path / "page.md").write_text(page.format("3"), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page.md:1 prints"):
        pages.run("page.md", tmp_path)
