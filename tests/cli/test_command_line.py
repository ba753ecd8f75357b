"""The command line: every verb, its JSON, its exit codes, and what goes to which stream. What a new process adds, its
streams, its exit status, its signals, is tested in new processes; what a command answers is asked in this one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.cli import inside
from tests.conftest import CORPUS, ROOT
from tests.llm.server import Answer, Server, chat

SYNALIGN = str(Path(sys.executable).with_name("synalign"))
VERBS = (
    "init", "ingest", "embed", "cluster", "select", "estimate", "reason", "generate", "annotate", "record", "align",
    "run", "status", "sql", "sample", "score", "weights", "check", "search", "export", "exclude", "include", "gc",
    "runs", "diff", "explain", "tag", "forget", "publish", "fsck", "version", "ab", "experiment",
    "evaluate", "learning-curve", "text-quality", "documents", "retriever", "retrieve", "evaluate-retrieval",
)  # fmt: skip

SETTINGS = """
workspace = "ws"
seed = 3
[[sources]]
path = "real.csv"
label = "label"
test_share = 0.2
[task]
description = "a message to a shop"
labels = { refund = "wants money back 💸" }
[embed]
dimensions = 24
[cluster]
k = 8
[generate]
per_selection = 3
[align]
features = 64
"""


def cli(*arguments: str | Path, given: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command in a new process, its output captured: no terminal."""
    command = [SYNALIGN, *map(str, arguments)]
    env = os.environ | {"PYTHONIOENCODING": ""} | environment
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", env=env, timeout=120)


def good(*arguments: str | Path, **more: str) -> str:
    done = cli(*arguments, **more)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def data(*arguments: str | Path) -> Any:
    return json.loads(good(*arguments, "--json"))


def data_inside(*arguments: str | Path) -> Any:
    """As `data`, in this process."""
    done = inside.cli(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def good_inside(*arguments: str | Path) -> str:
    """As `good`, in this process."""
    done = inside.cli(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def bad_inside(status: int, *arguments: str | Path) -> str:
    """As `bad`, in this process."""
    return message(status, inside.cli(*arguments))


def bad(status: int, *arguments: str | Path, **more: str) -> str:
    """Run a command that must fail; return its message."""
    return message(status, cli(*arguments, **more))


def message(status: int, done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    return " ".join(done.stderr.split())


def write_run_file(folder: Path, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = CORPUS.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "real.csv").write_text("".join(lines[:111]), encoding="utf-8")
    config = folder / "run.toml"
    config.write_text(SETTINGS + more, encoding="utf-8")
    return config


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file that was run; its workspace is `ws`. Only read, or put back as it was."""
    folder = tmp_path_factory.mktemp("cli")
    outcome = cli("run", write_run_file(folder))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == "", "progress is for terminals"
    assert [line.split()[0] for line in outcome.stdout.splitlines() if not line.startswith(" ")] == [
        "ingest", "embed", "cluster", "select", "reason", "generate", "align",
    ]  # fmt: skip
    return folder


def test_every_verb_has_help_and_stands_in_a_page() -> None:
    overview = good("--help")
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    written = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    listed = re.findall(r"^  ([a-z-]+) {2,}\S", overview.partition("Commands:")[2], re.MULTILINE)
    assert set(listed) == set(VERBS)
    missing = [verb for verb in VERBS if not re.search(rf"synalign {verb}\b", written)]
    assert missing == []


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself_and_its_options(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = good_inside(verb, "--help")
    _, _, options = text.partition("Options:")
    assert len(text.partition("\n\n")[2].strip().splitlines()[0]) > 15
    listed = re.findall(r"^  (--?[a-z].*)$", options, re.MULTILINE)
    assert listed
    for line in listed:
        assert len(line.split("  ")) > 1 or "--help" in line, f"{verb}: {line} is not explained"


def test_a_run_again_says_that_there_is_nothing_to_do(done: Path) -> None:
    steps = [line for line in good("run", done / "run.toml").splitlines() if not line.startswith(" ")]
    assert len(steps) == 7
    assert all("nothing to do" in line for line in steps)


def test_step_by_step_comes_to_the_same_as_run(done: Path, tmp_path: Path) -> None:
    """Each verb takes the workspace first and gives one JSON document. What `run` did was done by another process."""
    there, ws = done / "ws", tmp_path / "ws"
    made = inside.cli("init", ws, "--description", "a message to a shop", "--label", "refund=wants money back 💸")
    assert made.returncode == 0
    assert "Next: synalign ingest" in made.stderr
    config = (there / "synalign.toml").read_text(encoding="utf-8")
    (ws / "synalign.toml").write_text(config, encoding="utf-8")
    results = {
        "ingest": data_inside("ingest", ws, done / "real.csv", "--label", "label", "--test-share", "0.2"),
        "embed": data_inside("embed", ws),
        "cluster": data_inside("cluster", ws),
        "select": data_inside("select", ws),
        "reason": data_inside("reason", ws),
        "generate": data_inside("generate", ws),
        "align": data_inside("align", ws),
    }
    assert {verb: result["step"] for verb, result in results.items()} == {verb: verb for verb in results}
    assert not any(result["reused"] for result in results.values())
    weights = "select id, weight from synthetic_weighted order by id"
    weighted = data_inside("sql", ws, weights)
    assert weighted == data_inside("sql", there, weights)
    name = weighted[0]["id"]
    assert data_inside("exclude", ws, f"id = '{name}'", "--reason", "too good")["counts"] == {"excluded": 1}
    assert data_inside("status", ws)["stale"] != []
    assert data_inside("include", ws, f"id = '{name}'")["counts"] == {"taken back": 1}
    assert set(data_inside("gc", ws)) == {"runs", "rows", "bytes", "tables", "replies"}
    query = "select (select count(*) from calls) as calls, (select count(*) from synthetic_weighted) as weighted"
    assert data_inside("sql", ws, query) == data_inside("sql", there, query)


def test_questions_are_answered_in_json_csv_and_for_people(done: Path, tmp_path: Path) -> None:
    ws = done / "ws"
    drawn = data_inside("sample", ws, "50", "--seed", "7")
    assert sum(row["copies"] for row in drawn) == 50
    assert good_inside("sample", ws, "50", "--seed", "7", "--csv").count("\n") >= len(drawn) + 1
    found = data_inside("search", ws, "my parcel has not arrived", "-k", "3", "--origin", "real")
    assert len(found) == 3
    assert found == sorted(found, key=lambda row: row["distance"])
    near = data_inside("search", ws, "--id", found[0]["id"], "-k", "2")
    assert found[0]["id"] not in {row["id"] for row in near}
    assert len(near) == 2
    status = good_inside("status", ws)
    assert re.search(r"^real +\d+ test, \d+ train$", status, re.MULTILINE)
    assert data_inside("status", ws)["stale"] == []
    drawn_file = tmp_path / "drawn.jsonl"
    outcome = inside.cli("export", ws, drawn_file, "-n", "40")
    assert (outcome.returncode, outcome.stdout) == (0, "")
    assert f"Wrote {drawn_file} and drawn.jsonl.md" in " ".join(outcome.stderr.split())
    assert len(drawn_file.read_text(encoding="utf-8").splitlines()) == 40
    assert (tmp_path / "drawn.jsonl.md").stat().st_size
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", good("version"))


def test_sql_comes_as_an_argument_or_on_stdin(done: Path) -> None:
    ws = done / "ws"
    query = "select split, count(*) as n from real group by split order by split"
    expected = data_inside("sql", ws, query)
    assert json.loads(good("sql", ws, "-", "--json", given=query)) == expected
    as_lines = ["split,n", *(f"{row['split']},{row['n']}" for row in expected)]
    assert good_inside("sql", ws, query, "--csv").splitlines() == as_lines
    assert "split" in good_inside("sql", ws, query)


@pytest.mark.parametrize("table", ["runs", "lineage"])
def test_whole_relations_can_be_shown(done: Path, table: str) -> None:
    """Lists, structs and times included."""
    assert data_inside("sql", done / "ws", f"select * from {table}")


def test_wrong_usage_ends_with_2_and_says_what_is_right(done: Path, tmp_path: Path) -> None:
    ws, real = done / "ws", done / "real.csv"
    assert "--sed" in bad(2, "sample", ws, "5", "--sed", "7")
    assert "No such command" in bad_inside(2, "smaple", ws)
    assert "Missing argument" in bad_inside(2, "align")
    said = bad_inside(2, "ingest", tmp_path / "new", real, "--text", "body")
    assert "no column 'body'" in said
    assert "text, label, channel, received" in said
    assert not (tmp_path / "new").exists()
    said = bad_inside(2, "status", done / "w")
    assert "There is no workspace in" in said
    assert f"Did you mean {ws}?" in said.replace(" /", " /")
    assert not (done / "w").exists()
    assert "budget of 99 is more than the 8 clusters" in bad_inside(2, "select", ws, "--budget", "99")
    assert "--label takes NAME=MEANING" in bad_inside(2, "init", tmp_path / "new", "--label", "0")
    assert "exists already" in bad_inside(2, "init", ws)
    config = write_run_file(tmp_path / "typo", "[llm]\nmodle = 'x'\n")
    assert "llm.modle: no such key; did you mean 'model'?" in bad_inside(2, "run", config)
    assert not (tmp_path / "typo" / "ws").exists()
    assert "no step 'train'" in bad_inside(2, "run", write_typo_of_steps(tmp_path / "steps"))


def write_typo_of_steps(folder: Path) -> Path:
    config = write_run_file(folder)
    config.write_text('steps = ["ingest", "train"]\n' + config.read_text(encoding="utf-8"), encoding="utf-8")
    return config


def test_failures_end_with_1_and_say_what_to_do(done: Path, tmp_path: Path) -> None:
    ws = done / "ws"
    said = bad(1, "sql", ws, "select * from synthetic_wieghted")
    assert "Relations of a workspace:" in said
    assert "synthetic_weighted" in said
    assert "no such thing" not in bad_inside(1, "sql", ws, "select 1/")
    assert bad_inside(1, "sql", ws, "select cast('x' as int)")
    (tmp_path / "holes.csv").write_text("text,label\nfine,a\n,b\n", encoding="utf-8")
    said = bad_inside(1, "ingest", tmp_path / "new", tmp_path / "holes.csv", "--label", "label")
    assert "are empty or null" in said
    assert "--skip-empty" in said
    assert inside.cli("init", tmp_path / "empty").returncode == 0
    assert "synalign ingest DIR FILE" in bad_inside(1, "cluster", tmp_path / "empty")
    assert "synalign align DIR" in bad_inside(1, "sample", tmp_path / "empty", "5")
    assert bad_inside(1, "exclude", ws, "colour = 'red'")


def test_errors_are_json_on_stdout_when_json_is_asked_for(done: Path, tmp_path: Path) -> None:
    cases = {
        ("sql", str(done / "ws"), "select nothing"): (1, "SqlError"),
        ("status", str(tmp_path / "none")): (2, "WorkspaceNotFoundError"),
        ("ingest", str(tmp_path / "new"), str(done / "real.csv"), "--text", "body"): (2, "UsageError"),
        ("run", str(tmp_path / "none.toml")): (2, "UsageError"),
    }
    for arguments, (status, kind) in cases.items():
        outcome = (cli if arguments[0] == "status" else inside.cli)(*arguments, "--json")
        assert outcome.returncode == status
        error = json.loads(outcome.stdout)["error"]
        assert (error["type"], error["retryable"]) == (kind, False)
        assert error["message"]
        assert "Traceback" not in outcome.stderr


def test_a_pipe_that_closes_early_gives_no_trace_back(done: Path) -> None:
    query = "select a.text from real a, real b, real c limit 400000"
    command = f"set -o pipefail; {SYNALIGN} sql {done / 'ws'} {query!r} --csv | head -n 1"
    ended = subprocess.run(["bash", "-c", command.replace("'", '"')], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "text\n"
    assert ended.stderr == ""


def test_emoji_survive_a_locale_without_them(done: Path) -> None:
    query = "select '🥞 крепко ünïcode' as x, count(*) as n from real where text like '%🥞%'"
    for arguments in ((), ("--json",), ("--csv",)):
        outcome = cli("sql", done / "ws", query, *arguments, LANG="C", LC_ALL="C")
        assert outcome.returncode == 0, outcome.stderr
        assert "🥞 крепко ünïcode" in outcome.stdout
    assert "🥞" in bad(1, "sql", done / "ws", 'select "🥞" from real', LANG="C", LC_ALL="C")


class Slow:
    """Answers at once, up to a number of replies of `generate`; the others wait until they are let go."""

    def __init__(self, replies: int) -> None:
        self.left = replies
        self.free = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any], number: int) -> Answer:
        if body["response_format"]["json_schema"]["name"] == "reason":
            return chat(json.dumps({"attributes": [{"name": "tone", "value": "plain"}]}))
        with self._lock:
            self.left -= 1
            wait = self.left < 0
        if wait:
            self.free.wait(180)
        name = sha256(json.dumps(body).encode()).hexdigest()[:8]
        return chat(json.dumps({"records": [{"text": f"Parcel {name} number {i} is late"} for i in range(3)]}))


Serve = Callable[[Callable[[dict[str, Any], int], Answer]], Server]


def durable(ws: Path) -> int:
    """Return how many complete replies the ledger holds, as another process sees it."""
    try:
        with closing(sqlite3.connect(f"file:{ws / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
            return ledger.execute("select count(*) from calls where status = 'complete'").fetchone()[0]
    except sqlite3.OperationalError:  # not made yet
        return 0


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        threading.Event().wait(0.02)


def test_ctrl_c_and_a_second_writer_during_generation(serve: Serve, tmp_path: Path) -> None:
    """While a run waits for replies others read and write, but ask no model; Ctrl-C ends it and loses nothing.
    The run is a process of its own; the others are this one."""
    slow = Slow(replies=3)
    server = serve(slow)
    llm = f'[llm]\nmodel = "m1"\nbase_url = "{server.url}"\nconcurrency = 2\n'
    config = write_run_file(tmp_path, llm + "[accept]\nlength = false\nnear_duplicate = false\n")
    ws = tmp_path / "ws"
    run = subprocess.Popen([SYNALIGN, "run", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: durable(ws) == 8 + 3)
    server.wait_for(8 + 3 + 2)
    assert "Another process is asking the language model" in bad_inside(1, "generate", ws)
    busy = inside.cli("generate", ws, "--json")
    assert busy.returncode == 1
    assert json.loads(busy.stdout)["error"]["retryable"]
    written = "text,label\nthe lamp came without its shade,defect\n"
    (tmp_path / "more.csv").write_text(written, encoding="utf-8")
    assert data_inside("ingest", ws, tmp_path / "more.csv", "--label", "label", "--synthetic")["counts"]["added"] == 1
    assert data_inside("sql", ws, "select status, count(*) as n from calls group by status") == [
        {"status": "complete", "n": 11}
    ]
    assert data_inside("status", ws)["steps"]["generate"] is None
    run.send_signal(signal.SIGINT)
    assert run.stderr is not None
    said = run.stderr.readline()
    assert said == "Waiting for 2 calls under way. Ctrl-C again drops them.\n"
    slow.free.set()
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert f"Stopped. What was done is kept. To go on from there: synalign run {config}" in err
    assert "Traceback" not in out + err
    received = durable(ws)
    assert received == 13
    asked = len(server.bodies)
    assert inside.cli("run", config).returncode == 0
    bodies = Counter(json.dumps(body) for body in server.bodies)
    assert len(bodies) == 16
    assert len(server.bodies) == asked + 16 - received
    assert data_inside("sql", ws, "select count(*) as n from synthetic")[0]["n"] == 8 * 3 + 1


def test_progress_is_drawn_on_a_terminal_only(done: Path, tmp_path: Path) -> None:
    """On a pseudo-terminal as stderr there is progress; stdout, a pipe, holds the JSON document alone."""
    import pty

    shutil.copytree(done / "ws", tmp_path / "ws")
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    command = [SYNALIGN, "generate", str(tmp_path / "ws"), "--per-selection", "2", "--json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment)
    os.close(follower)
    drawn = bytearray()

    def drain() -> None:
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other end is closed
                return
            drawn.extend(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    out, _ = run.communicate(timeout=120)
    reader.join()
    os.close(leader)
    assert run.returncode == 0
    assert json.loads(out)["step"] == "generate"
    assert b"calls of builtin/ngram" in drawn
