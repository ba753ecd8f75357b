"""Hostile values through everything: Lance, all steps, SQL live and published, exports. What went in comes out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import synalign as sa
from synalign.errors import InputError
from synalign.workspace import CATALOG_NAME
from tests.hostile.test_fuzz_readers import contents
from tests.steps.workspaces import unpublished

#: Each differs from another by case, by normalisation, by a character that is not seen, or is code somewhere.
IDS = [
    "A", "a", "\u00e9", "e\u0301", "K", "\u212a", "k", "fi", "\ufb01", "' or 1=1 --", '"q"', "a\0b", "a\0c", "a\0",
    "\u202ertl", "rtl", "z\u200bw", "zw", "x y", " x y", "%", "_", "\\", "a\nb", "null", "*", "1", "01", "\U0001f95e",
    "id in (select id from real)", "{{ 7*7 }}", "x" * 3_000,
]  # fmt: skip
LABELS = [
    "'; drop table real; --", "{{ 7*7 }}", "{% raw %}", "{# x", '"x" \\ end', "label\0one", "\u202eabc\u200b",
    "\U0001f95e", "caf\u00e9", "cafe\u0301", "All", "all",
]  # fmt: skip
#: Own columns: quotes, blanks, keywords, signs that are code somewhere, and letters of all kinds.
NAMES = [
    'q"q', "o'w", "two words", "select", "from", "\U0001f95e", "a\nb", "caf\u00e9", "cafe\u0301", "\u202eabc",
    "z\u200bw", "a,b;c", "$1", "?", "{a}", "a/b", "a\\b", "--", "rowid", "NULL", "1", "t", "x" * 500,
]  # fmt: skip
SIZE = len(IDS) * 3


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def frame() -> pl.DataFrame:
    texts = [
        f"order {n} of {IDS[n % len(IDS)]} \0 \u200f {LABELS[n % len(LABELS)]} is late" + "  \u200d\ufeff" * (n % 2)
        for n in range(SIZE)
    ]
    ids = [IDS[n % len(IDS)] + ("" if n < len(IDS) else f"\u0001{n // len(IDS)}") for n in range(SIZE)]
    labels = [LABELS[n % len(LABELS)] for n in range(SIZE)]
    own = {name: [f"{name}{n}" if n % 3 else None for n in range(SIZE)] for name in NAMES}
    return pl.DataFrame({"id": ids, "text": texts, "label": labels, **own})


GIVEN = frame()
EXPECTED = sorted(GIVEN.select("id", "text", "label", *NAMES).rows())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """Both sides hold the same hostile records; every step ran. The folder's own name is one of them."""
    workspace = sa.open(tmp_path_factory.mktemp("hostile") / "two words; 'and' \"quotes\" \U0001f95e")
    with unpublished():
        workspace.ingest(GIVEN, id="id", label="label")
        workspace.embed(dimensions=8)
        workspace.cluster(k=6)
        workspace.select(unit="record", budget=SIZE)
        workspace.reason()
        workspace.generate(per_selection=1)
        workspace.ingest(GIVEN.with_columns(pl.col("text") + " again"), id="id", label="label", synthetic=True)
        workspace.align(strength=1e-2, features=64, quality=False, label_shares="real")
    workspace.publish()
    return workspace


def selection(columns: list[str]) -> str:
    return ", ".join(map(quoted, columns))


def test_live_sql_gives_back_what_was_given(workspace: sa.Workspace) -> None:
    found = workspace.sql(f"select id, text, label, {selection(NAMES)} from real").fetchall()
    assert sorted(found) == EXPECTED


def test_the_catalog_gives_back_what_was_given(workspace: sa.Workspace) -> None:
    with duckdb.connect(str(workspace.path / CATALOG_NAME), read_only=True) as connection:
        found = connection.sql(f"select id, text, label, {selection(NAMES)} from real").fetchall()
        assert sorted(found) == EXPECTED
        for name in IDS:
            assert connection.execute("select count(*) from real where id = ?", [name]).fetchall() == [(1,)], name


def test_each_id_is_one_record_in_all_steps(workspace: sa.Workspace) -> None:
    ids = set(GIVEN["id"])
    with workspace.connect() as connection:
        for relation in ("cluster_members where origin = 'real'", "cluster_members where origin = 'synthetic'"):
            assert ids <= {row[0] for row in connection.execute(f"select id from {relation}").fetchall()}
        picked = connection.execute("select record_id from selection_log").fetchall()
        assert sorted(row[0] for row in picked) == sorted(ids)
        weighted = connection.execute("select id from synthetic_weighted").fetchall()
        assert len(weighted) == len(set(weighted))
        assert ids <= {row[0] for row in weighted}
        for name in IDS:  # a filter that is handed down to Lance
            assert connection.execute("select id from real where id = ?", [name]).fetchall() == [(name,)], name
        labels = connection.execute("select label, count(*) from real group by label").fetchall()
        assert dict(labels) == dict(GIVEN.group_by("label").len().rows())
    for name in ("a", "A", "a\0b", "' or 1=1 --", "\u00e9", "e\u0301"):
        found = workspace.search(id=name, k=SIZE, origin="real")["id"].to_list()
        assert set(found) == ids - {name}


def test_no_template_ran_in_a_prompt(workspace: sa.Workspace) -> None:
    prompts = [row[0] for row in workspace.sql('select "user" from calls').fetchall()]
    assert prompts
    assert any("{{ 7*7 }}" in prompt for prompt in prompts)
    assert any("{% raw %}" in prompt for prompt in prompts)
    assert not any("\0" in prompt for prompt in prompts)


def read_back(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:  # polars leaves the quotes of a name doubled
            header, *rows = csv.reader(file)
        return pl.DataFrame(rows, schema=header, orient="row").with_columns(pl.all().replace("", None))
    return pl.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line])


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_exports_give_back_what_was_given(kind: str, workspace: sa.Workspace, tmp_path: Path) -> None:
    path = workspace.export(tmp_path / f"out 'put'.{kind}")
    found = read_back(path).select("id", "text", "label", *NAMES)
    mine = found.filter(pl.col("id").is_in(GIVEN["id"].implode()))
    expected = GIVEN.with_columns(pl.col("text") + " again").select("id", "text", "label", *NAMES)
    assert sorted(map(repr, mine.rows())) == sorted(map(repr, expected.rows()))
    drawn = read_back(workspace.export(tmp_path / f"drawn.{kind}", n=200, seed=3))
    assert drawn.height == 200
    again = sa.open(tmp_path / "again")
    with unpublished():
        outcome = again.ingest(path, id="id", label="label")
    assert outcome.counts["records"] == found.height
    stored = dict(again.sql("select id, text from real").fetchall())
    assert stored == dict(found.select("id", "text").rows())


def test_exclusion_by_hostile_ids_takes_that_record_alone(workspace: sa.Workspace, tmp_path: Path) -> None:
    for name in ("a", "' or 1=1 --", "e\u0301"):
        literal = "'" + name.replace("'", "''") + "'"
        with unpublished():
            assert workspace.exclude(f"id = {literal}").counts["excluded"] == 1
            assert workspace.sql("select id from exclusions").fetchall() == [(name,)]
            workspace.include(f"id = {literal}")


@pytest.mark.parametrize("width", [200, pytest.param(2_000, marks=pytest.mark.long)])
def test_many_columns(width: int, blank: Path, tmp_path: Path) -> None:
    names = [f"column {n}" for n in range(width)]
    path = tmp_path / "wide.csv"
    pl.DataFrame({"text": ["a", "b"], **{name: [n, None] for n, name in enumerate(names)}}).write_csv(path)
    workspace = sa.open(blank)
    workspace.ingest(path)
    expected = [("a", *range(width)), ("b", *[None] * width)]
    question = f"select text, {selection(names)} from real order by text"
    assert workspace.sql(question).fetchall() == expected
    with duckdb.connect(str(blank / CATALOG_NAME), read_only=True) as connection:
        assert connection.sql(question).fetchall() == expected


@pytest.mark.parametrize("size", [500_000, pytest.param(10_000_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_long_text(kind: str, size: int, blank: Path, tmp_path: Path) -> None:
    long = ("lorem ipsum dolor sit amet \U0001f95e " * (size // 28))[:size]
    path = tmp_path / f"long.{kind}"
    given = pl.DataFrame({"text": [long, *(f"short text {n}" for n in range(8))]})
    {"csv": given.write_csv, "jsonl": given.write_ndjson, "parquet": given.write_parquet}[kind](path)
    workspace = sa.open(blank)
    with unpublished():
        workspace.ingest(path)
        if kind == "csv":
            workspace.embed(dimensions=4)
            workspace.cluster(k=2)
        assert workspace.ingest(given).reused
    found = workspace.sql("select text from real order by length(text) desc limit 1").fetchall()
    assert found[0][0] == long


anything = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
values = st.one_of(
    st.lists(st.none() | anything, min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=3, max_size=3),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.lists(st.none() | st.dates(), min_size=3, max_size=3),
    st.lists(st.none() | st.binary(max_size=5), min_size=3, max_size=3),
    st.lists(st.none() | st.lists(anything, max_size=2), min_size=3, max_size=3),
    st.lists(st.fixed_dictionaries({"a": anything, "\U0001f95e b": st.integers(0, 9)}), min_size=3, max_size=3),
    anything.map(lambda name: [{name: 1}, {name: None}, {name: 3}]),
)  # fmt: skip
frames = st.fixed_dictionaries(
    {
        "id": st.lists(anything, min_size=3, max_size=3),
        "text": st.lists(anything, min_size=3, max_size=3),
        "label": st.lists(st.none() | anything, min_size=3, max_size=3),
    }
).flatmap(lambda base: st.dictionaries(anything, values, max_size=3).map(lambda own: own | base))


def check_any_frame(folder: Path, columns: dict[str, list[object]]) -> None:
    """Stored as given, and a second time the same; or refused, and nothing is changed."""
    try:
        given = pl.DataFrame(columns, strict=False)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return  # never a frame
    workspace = sa.open(folder)
    before = contents(folder)
    try:
        workspace.ingest(given, id="id", label="label")
    except InputError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert "Nothing was written" in refused
        assert contents(folder) == before
        return
    kept = workspace.sql("from real").pl()
    by_id = {row["id"]: row for row in kept.to_dicts()}
    stored = {name.lower(): name for name in kept.columns}
    for row in given.to_dicts():
        found = by_id[row["id"]]
        assert found["text"] == row["text"]
        assert found["label"] == ((row["label"] or "").strip() or None)
        for name in given.columns:
            if name not in ("id", "text", "label") and name.lower() in stored and stored[name.lower()] == name:
                assert found[name] == row[name], name
    assert kept.width == given.width + 3  # split, run_id, multiplicity: no column is lost
    assert workspace.ingest(given.reverse(), id="id", label="label").reused


def any_frame(path: Path, examples: int) -> None:
    count = iter(range(10**6))

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(frames)
    def check(columns: dict[str, list[object]]) -> None:
        check_any_frame(path / str(next(count)), columns)

    with unpublished():
        check()


def test_a_frame_of_anything_is_stored_as_it_is_or_refused(tmp_path: Path) -> None:
    any_frame(tmp_path, 25)


@pytest.mark.long
def test_many_frames_of_anything_are_stored_as_they_are_or_refused(tmp_path: Path) -> None:
    any_frame(tmp_path, 1_000)
