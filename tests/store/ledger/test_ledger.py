"""Paid replies survive: a killed process, a later failure, other readers."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from synalign.errors import StoreError
from synalign.store.lake.schemas import TABLES
from synalign.store.ledger.ledger import COMPLETE, FAILED, REFUSED, Batch, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.sqlite")


def call(call_id: str, status: str = COMPLETE, **more) -> dict:
    return {"call_id": call_id, "run_id": "r", "step": "reason", "status": status, "attempts": 1, **more}


def test_reading_makes_no_file(ledger: Ledger):
    assert ledger.rows().num_rows == 0
    assert ledger.trim(["a"]) == 0
    ledger.close()
    assert not ledger.path.parent.exists()


def test_rows_come_back_as_they_were_put(ledger: Ledger):
    ledger.put(call("b", reply='{"x": "é\n🥞"}', prompt_tokens=5, cost_usd=0.25, latency_s=1.5))
    ledger.put(call("a", REFUSED, error="content filter"))
    found = ledger.rows()
    assert found.schema == TABLES["calls"].schema
    rows = found.to_pylist()
    assert [row["call_id"] for row in rows] == ["a", "b"]
    assert rows[1]["reply"] == '{"x": "é\n🥞"}'
    assert (rows[1]["prompt_tokens"], rows[1]["cost_usd"], rows[1]["latency_s"]) == (5, 0.25, 1.5)
    assert rows[0]["reply"] is None
    assert rows[0]["finished_at"] is not None
    assert ledger.rows(["b", "nobody"])["call_id"].to_pylist() == ["b"]
    assert ledger.rows([]).num_rows == 0


@pytest.mark.parametrize("later", [FAILED, REFUSED, COMPLETE])
def test_a_complete_reply_is_never_replaced(ledger: Ledger, later: str):
    ledger.put(call("a", reply="paid for"))
    ledger.put(call("a", later, reply=None, error="timed out", attempts=5))
    row = ledger.rows().to_pylist()[0]
    assert (row["status"], row["reply"], row["error"], row["attempts"]) == (COMPLETE, "paid for", None, 1)


@pytest.mark.parametrize("first", [FAILED, REFUSED])
def test_a_failure_is_replaced_by_a_reply(ledger: Ledger, first: str):
    ledger.put(call("a", first, error="timed out"))
    ledger.put(call("a", reply="at last"))
    rows = ledger.rows().to_pylist()
    assert [(row["status"], row["reply"], row["error"]) for row in rows] == [(COMPLETE, "at last", None)]


def test_several_outcomes_are_put_together_or_not_at_all(ledger: Ledger):
    ledger.put(call("a"), call("b", REFUSED, error="no"))
    assert ledger.rows()["call_id"].to_pylist() == ["a", "b"]
    with pytest.raises(StoreError, match="2 replies were not kept"):
        ledger.put(call("c"), call("d", reply=object()))
    assert ledger.rows()["call_id"].to_pylist() == ["a", "b"]


def test_reservations_are_kept_until_their_outcome_is(ledger: Ledger):
    assert ledger.reserved() == []
    first = ledger.reserve("a", 100.0, 0.5)
    second, third = ledger.reserve_all([("b", 200.0, None), ("a", 1.0, 2.0)])
    assert len({first, second, third}) == 3
    kept = [(first, "a", 100.0, 0.5), (second, "b", 200.0, None), (third, "a", 1.0, 2.0)]
    assert ledger.reserved() == Ledger(ledger.path).reserved() == kept
    ledger.put(call("a"), settled=[first, third])
    assert ledger.reserved() == [(second, "b", 200.0, None)]
    with pytest.raises(StoreError, match="cannot be written"):
        ledger.put(call("b", reply=object()), settled=[second])
    assert ledger.reserved() == [(second, "b", 200.0, None)]
    ledger.put(settled=[second])
    assert ledger.reserved() == []


SENT = Batch("new:d", "r", "m", None, None, ("a", "b"), "new", datetime(2026, 1, 2, 3, tzinfo=UTC))


def test_a_batch_is_found_by_a_later_process(ledger: Ledger):
    assert ledger.batches() == []
    numbers = ledger.reserve_all([("a", 1.0, 1.0), ("b", 1.0, 1.0)])
    ledger.put_batch(SENT)
    assert Ledger(ledger.path).batches() == [SENT]
    named = replace(SENT, batch_id="batch_1", input_file_id="file-1", status="validating")
    ledger.put_batch(named, instead_of=SENT.batch_id)
    assert ledger.batches() == [named]
    ended = replace(named, status="expired", call_ids=("b",))
    ledger.put_batch(ended, settled=numbers[:1])
    assert ledger.batches() == [ended]
    assert [call_id for _, call_id, _, _ in ledger.reserved()] == ["b"]
    over = replace(ended, call_ids=(), finished_at=datetime(2026, 1, 3, tzinfo=UTC))
    ledger.put_batch(over)
    older = replace(SENT, batch_id="batch_0", submitted_at=datetime(2026, 1, 1, tzinfo=UTC))
    ledger.put_batch(older)
    assert ledger.batches() == [older, over]
    ledger.drop_batch(older, settled=numbers)
    assert (ledger.batches(), ledger.reserved()) == ([over], [])


def test_two_servers_may_give_the_same_id(ledger: Ledger):
    there = [replace(SENT, base_url=url) for url in (None, "http://a/v1", "http://b/v1")]
    for batch in there:
        ledger.put_batch(batch)
    assert sorted(ledger.batches(), key=lambda batch: batch.base_url or "") == there
    ledger.put_batch(replace(there[1], batch_id="batch_1"), instead_of="new:d")
    ledger.drop_batch(there[0])
    assert {(batch.batch_id, batch.base_url) for batch in ledger.batches()} == {
        ("batch_1", "http://a/v1"),
        ("new:d", "http://b/v1"),
    }


def test_a_batch_that_cannot_be_written_changes_nothing(ledger: Ledger):
    ledger.put_batch(SENT)
    (number,) = ledger.reserve_all([("a", 1.0, None)])
    with pytest.raises(StoreError, match="cannot be written"):
        ledger.put_batch(replace(SENT, batch_id="batch_1", status=None), instead_of=SENT.batch_id, settled=[number])
    assert ledger.batches() == [SENT]
    assert len(ledger.reserved()) == 1


def test_a_file_of_an_earlier_version_is_read_as_it_is_and_written_once_it_has_the_columns(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    new = {"subject", "seed", "repairs", "batch_id"}
    columns = [name for name in TABLES["calls"].schema.names if name not in new]
    with sqlite3.connect(path) as old:
        old.execute(f"create table calls ({', '.join(columns)}, primary key (call_id)) without rowid")
        old.execute(
            "insert into calls (call_id, status, reply, finished_at) values (?, ?, ?, ?)",
            ("a", "complete", "r", "2026-01-01T00:00:00"),
        )
    old.close()
    before = path.read_bytes()
    ledger = Ledger(path)
    assert ledger.rows().schema == TABLES["calls"].schema
    assert ledger.rows().select(["reply", "subject", "seed", "batch_id"]).to_pylist() == [
        {"reply": "r", "subject": None, "seed": None, "batch_id": None}
    ]
    assert (ledger.reserved(), ledger.batches()) == ([], [])
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="no column named"):
        ledger.put(call("b"))
    ledger.add_columns({"subject": "text", "seed": "integer", "repairs": "text", "batch_id": "text"})
    ledger.add_columns({"subject": "text"})  # is there: left as it is
    ledger.put(call("b", subject="s", seed=3, repairs="a", batch_id="batch_1"))
    ledger.put_batch(SENT)
    ledger.reserve("c", 1.0, None)
    rows = Ledger(path).rows().to_pylist()
    assert [(row["call_id"], row["seed"], row["batch_id"]) for row in rows] == [("a", None, None), ("b", 3, "batch_1")]
    assert (Ledger(path).batches(), len(Ledger(path).reserved())) == ([SENT], 1)


_WRITER = """
import sys
from pathlib import Path
from synalign.store.ledger.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
number = 0
while True:
    ledger.put({"call_id": f"{number:06d}", "status": "complete", "reply": "x" * 500})
    print(number, flush=True)
    number += 1
"""


def test_replies_survive_the_death_of_the_process(ledger: Ledger):
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(ledger.path)], stdout=subprocess.PIPE, text=True)
    put = [int(writer.stdout.readline()) for _ in range(60)]
    writer.kill()
    put += [int(line) for line in writer.stdout.read().split()]
    writer.wait(timeout=30)
    found = set(ledger.rows()["call_id"].to_pylist())
    assert {f"{number:06d}" for number in put} <= found
    assert len(found) <= len(put) + 1
    ledger.put(call("after"))
    assert "after" in ledger.rows()["call_id"].to_pylist()


def test_others_read_while_one_writes(ledger: Ledger):
    ledger.put(call("a"))
    writing = sqlite3.connect(ledger.path, isolation_level=None)
    writing.execute("begin immediate")
    writing.execute("insert into calls (call_id, status, finished_at) values ('b', 'complete', '2026-01-01')")
    other = Ledger(ledger.path)
    assert other.rows()["call_id"].to_pylist() == ["a"]
    writing.execute("commit")
    assert other.rows()["call_id"].to_pylist() == ["a", "b"]
    writing.close()
    other.close()


def test_the_file_keeps_what_a_power_cut_would_take(ledger: Ledger):
    ledger.put(call("a"))
    connection = ledger._connection
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert connection.execute("pragma synchronous").fetchone() == (2,)  # FULL


def test_forget_drops_and_gives_space_back(ledger: Ledger):
    for number in range(200):
        ledger.put(call(f"{number:03d}", reply="x" * 5000))
    ledger.close()
    before = ledger.path.stat().st_size
    assert ledger.trim([f"{number:03d}" for number in range(190)] + ["nobody"]) == 190
    ledger.close()
    assert ledger.path.stat().st_size < before / 3
    assert ledger.rows().num_rows == 10


def test_a_file_that_is_no_ledger(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database, but long enough to be looked at " * 50)
    ledger = Ledger(path)
    uses = (
        *(lambda: ledger.put(call("a")), ledger.rows, lambda: ledger.trim(["a"]), ledger.reserved, ledger.batches),
        *(lambda: ledger.reserve("a", 1.0, None), lambda: ledger.put_batch(SENT), lambda: ledger.drop_batch(SENT)),
    )
    for use in uses:
        with pytest.raises(StoreError, match=r"ledger\.sqlite.*Move the file away: replies in the table `calls` stay"):
            use()


def test_reading_opens_nothing_for_writing(tmp_path: Path):
    """Neither the journal mode nor the table is touched: the file's bytes stay as they are."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.put({"call_id": "a", "status": "complete", "reply": "r"})
    ledger.close()
    before = ledger.path.read_bytes()
    assert Ledger(ledger.path).rows()["call_id"].to_pylist() == ["a"]
    assert Ledger(ledger.path).rows_except(["a"]).num_rows == 0
    assert ledger.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    nothing = Ledger(tmp_path / "none.sqlite")
    assert nothing.rows().num_rows == 0
    assert not nothing.path.exists()


def test_a_file_whose_making_was_killed_is_an_empty_ledger(tmp_path: Path):
    (tmp_path / "ledger.sqlite").touch()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.rows().num_rows == 0
    assert ledger.state() == [0, None]
    ledger.put({"call_id": "a", "status": "complete"})
    assert ledger.state()[0] == 1


def test_a_folder_in_the_place_of_the_ledger_is_not_called_damaged(tmp_path: Path):
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(StoreError, match="cannot be read") as caught:
        Ledger(tmp_path / "ledger.sqlite").rows()
    assert "Move the file away" not in str(caught.value)
