"""The test endpoint does what it says, over real HTTP: what other tests rely on is checked here."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from synalign.llm.prompting.schemas import AttributeSet, RecordBatch, json_schema
from tests.llm.endpoint import FAULTS, ROOT, Endpoint
from tests.llm.endpoint_replies import request_key, sentence

Start = Callable[..., Endpoint]

HTTP = httpx2.Client(headers={"authorization": "Bearer sk-secret"})


@pytest.fixture
def start() -> Iterator[Start]:
    """Start endpoints; all are closed after the test."""
    endpoints: list[Endpoint] = []

    def begin(**options: Any) -> Endpoint:
        endpoints.append(Endpoint(**options))
        return endpoints[-1]

    yield begin
    for endpoint in endpoints:
        endpoint.close()


def body(text: str, schema: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "You write."}, {"role": "user", "content": text}]
    if schema is not None:
        form = {"name": "answer", "schema": schema, "strict": True}
        given["response_format"] = {"type": "json_schema", "json_schema": form}
    return {"model": "m", "messages": messages, **given}


def post(endpoint: Endpoint, request: dict[str, Any], timeout: float = 5.0) -> httpx2.Response:
    return HTTP.post(f"{endpoint.url}/chat/completions", json=request, timeout=timeout)


def content(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def client(endpoint: Endpoint, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=endpoint.url, max_retries=retries, timeout=5)


def test_replies_fit_the_request(start: Start) -> None:
    endpoint = start()
    first, second = (
        content(post(endpoint, body(f"Write 12 new texts. {n}", json_schema(RecordBatch)))) for n in (1, 2)
    )
    batches = [RecordBatch.model_validate_json(text) for text in (first, second)]
    texts = [record.text for batch in batches for record in batch.records]
    assert len(set(texts)) == 24
    assert all(6 <= len(text.split()) <= 20 for text in texts)
    assert content(post(endpoint, body("Write 12 new texts. 1", json_schema(RecordBatch)))) == first
    attributes = AttributeSet.model_validate_json(content(post(endpoint, body("State.", json_schema(AttributeSet)))))
    assert len({item.name for item in attributes.attributes}) > 3
    assert content(post(endpoint, body("hello"))) == "ok"
    assert len(json.loads(content(post(endpoint, body("10 records"))))["records"]) == 10


def test_replies_name_what_the_prompt_names(start: Start) -> None:
    endpoint = start()

    def found(prompt: str, name: str, /, **fields: Any) -> list[dict[str, Any]]:
        schema = {"properties": {name: {"items": {"properties": fields}}}}
        return json.loads(content(post(endpoint, body(prompt, schema))))[name]

    text, number = {"type": "string"}, {"type": "integer"}
    told = '{"label": "wants money back", "name": "refund"}\nWrite 1 new text.'
    assert found(told, "records", text=text, label={"enum": ["praise", "refund"]})[0]["label"] == "refund"
    assert found(told, "records", text=text, label=text)[0]["label"] == "wants money back"
    lines = '{"number": 7, "text": "a"}\n{"x": 1}\n{"name": "tone", "kind": "category", "values": ["calm"]}'
    verdict = found(lines, "verdicts", number=number, real={"type": "boolean"})
    assert verdict == [{"number": 7, "real": True}]
    annotation = {"number": 7, "name": "tone", "value": "calm"}
    assert found(lines, "annotations", number=number, name=text, value=text) == [annotation]
    attribute = {"name": "tone", "kind": "category", "value": "calm"}
    assert found(lines, "attributes", name=text, kind=text, value=text) == [attribute]
    assert found(lines, "merges", name=text, value=text, becomes=text) == []
    shown = body(lines, response_format={"type": "json_object"})
    shown["messages"][0]["content"] = 'Of this shape:\n{"verdicts": [{"number": 1, "real": true}]}'
    assert json.loads(content(post(endpoint, shown))) == {"verdicts": verdict}


def test_sentences_never_repeat() -> None:
    assert len({sentence(str(number // 10), number % 10) for number in range(50_000)}) == 50_000


def test_a_request_is_known_by_model_messages_and_seed(start: Start) -> None:
    endpoint = start()
    one, other = body("2 records", seed=1), body("2 records", seed=2)
    again = body("2 records", {"properties": {}}, seed=1, temperature=1.0)
    replies = [post(endpoint, request) for request in (one, other, one, again)]
    assert endpoint.requests() == {
        request_key(one): {"arrived": 3, "complete": 3},
        request_key(other): {"arrived": 1, "complete": 1},
    }
    stats = endpoint.stats()
    assert (stats["arrivals"], stats["distinct"], stats["complete_twice"]) == (4, 2, 2)
    assert stats["completion_tokens"] == sum(len(content(reply)) // 4 for reply in replies) > 0
    assert stats["prompt_tokens"] == sum(len(reply.request.content) // 4 for reply in replies)
    endpoint.reset()
    assert endpoint.stats() | {"cpu_seconds": 0} == {
        "arrivals": 0, "replies": {}, "most_at_once": 0, "most_served": 0, "distinct": 0, "complete_twice": 0,
        "complete_twice_unread": 0, "prompt_tokens": 0, "completion_tokens": 0, "cpu_seconds": 0,
    }  # fmt: skip


def at_once(endpoint: Endpoint, count: int) -> tuple[list[httpx2.Response], float]:
    async def send() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(timeout=10) as http:
            address = f"{endpoint.url}/chat/completions"
            return await asyncio.gather(*(http.post(address, json=body(str(number))) for number in range(count)))

    began = time.perf_counter()
    return asyncio.run(send()), time.perf_counter() - began


def test_requests_above_the_capacity_wait_or_are_refused(start: Start) -> None:
    endpoint = start(latency=0.1, capacity=4)
    replies, seconds = at_once(endpoint, 12)
    assert [reply.status_code for reply in replies] == [200] * 12
    assert seconds >= 0.3
    stats = endpoint.stats()
    assert stats["most_served"] == 4
    assert stats["most_at_once"] > 4
    # The latency is long enough that all have come before the first is answered.
    endpoint = start(latency=0.5, capacity=4, over="429", retry_after="7")
    refused = [reply for reply in at_once(endpoint, 12)[0] if reply.status_code == 429]
    assert [reply.headers["retry-after"] for reply in refused] == ["7"] * 8
    assert endpoint.stats()["replies"] == {"complete": 4, "over_capacity": 8}


def test_faults(start: Start) -> None:
    def one(kind: str, **options: Any) -> Endpoint:
        return start(faults={kind: 1.0}, **options)

    endpoint = one("429")
    waits = [post(endpoint, body("a")).headers.get("retry-after") for _ in range(4)]
    assert waits == ["0.05", None, "0.05", None]
    assert post(one("503"), body("a")).status_code == 503
    endpoint = one("hang")
    with pytest.raises(httpx2.ReadTimeout):
        post(endpoint, body("a"), timeout=0.2)
    endpoint = one("cut")
    with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):
        post(endpoint, body("a"))
    assert endpoint.requests() == {request_key(body("a")): {"arrived": 1, "complete": 0}}
    endpoint = one("malformed")
    cut, prose, shape = (content(post(endpoint, body("Write 3 new texts", json_schema(RecordBatch)))) for _ in range(3))
    assert cut.startswith('{"records"')
    assert "{" not in prose
    assert "records" not in json.loads(shape)
    for text in (cut, prose):
        with pytest.raises(ValueError):
            json.loads(text)
    assert endpoint.stats()["complete_twice"] == 2
    began = time.perf_counter()
    assert content(post(one("trickle", trickle=0.3), body("a"))) == "ok"
    assert time.perf_counter() - began > 0.2


def test_faults_of_a_complete_body(start: Start) -> None:
    shares = dict.fromkeys(("empty", "empty_choices", "content_filter", "error200"), 0.25)
    endpoint = start(faults=shares)
    found = [post(endpoint, body(str(number))).json() for number in range(40)]
    counts = endpoint.stats()["replies"]
    assert counts.keys() == shares.keys()
    assert sum("error" in reply for reply in found) == counts["error200"]
    choices = [reply["choices"] for reply in found if "choices" in reply]
    assert sum(not choice for choice in choices) == counts["empty_choices"]
    ends = [choice[0]["finish_reason"] for choice in choices if choice]
    assert ends.count("content_filter") == counts["content_filter"]
    assert sum(choice[0]["message"]["content"] == "" for choice in choices if choice) == counts["empty"]


def test_faults_follow_the_seed_and_a_retry_draws_anew(start: Start) -> None:
    endpoint = start(faults={"500": 0.5}, seed=3)

    def statuses() -> list[int]:
        return [post(endpoint, body("the same")).status_code for _ in range(40)]

    first = statuses()
    assert 10 < first.count(500) < 30
    endpoint.reset()
    assert statuses() == first
    other = start(faults={"500": 0.5}, seed=4)
    assert [post(other, body("the same")).status_code for _ in range(40)] != first


def test_a_reply_to_a_client_that_left_is_not_complete(start: Start) -> None:
    endpoint = start(latency=0.3)
    with pytest.raises(httpx2.ReadTimeout):
        post(endpoint, body("a"), timeout=0.1)
    time.sleep(0.4)
    stats = endpoint.stats()
    assert (stats["replies"], stats["completion_tokens"]) == ({"abandoned": 1}, 0)


def test_a_reply_that_nobody_read_is_told_from_one_that_was(start: Start) -> None:
    endpoint = start()
    data = json.dumps(body("a")).encode()
    address = ("127.0.0.1", int(endpoint.url.split(":")[2].removesuffix("/v1")))
    with socket.create_connection(address) as client:  # closed with the reply in it, as when its process is killed
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data))
        while endpoint.requests().get(request_key(body("a")), {}).get("complete") != 1:
            time.sleep(0.01)
    for _ in range(2):
        post(endpoint, body("a"))
    stats = endpoint.stats()
    assert (stats["complete_twice"], stats["complete_twice_unread"]) == (2, 1)


def test_formats_are_refused_and_the_key_comes_back(start: Start) -> None:
    endpoint = start(refuse_json=True, echo_key=True)
    for form in ("json_schema", "json_object"):
        refused = post(endpoint, body("a", response_format={"type": form}))
        assert refused.status_code == 400
        assert f"{form} is not supported" in refused.text
        assert "sk-secret" in refused.text
    assert content(post(endpoint, body("a"))) == "ok sk-secret"
    assert "sk-secret" in json.loads(content(post(endpoint, body("Write 2 new records"))))["records"][0]["text"]
    endpoint = start(refuse_schema=True)
    assert post(endpoint, body("a", response_format={"type": "json_object"})).status_code == 200
    assert "sk-" not in post(endpoint, body("a", {})).text


def test_contents_from_a_file(start: Start, tmp_path: Any) -> None:
    (tmp_path / "replies.json").write_text(json.dumps(["one", "two"]))
    endpoint = start(reply_file=tmp_path / "replies.json")
    assert [content(post(endpoint, body("a"))) for _ in range(3)] == ["one", "two", "one"]


def test_the_openai_client_reads_chats_and_embeddings(start: Start) -> None:
    endpoint = start(faults={"429": 0.2, "cut": 0.2}, seed=1)
    api = client(endpoint, retries=8)
    found = [api.chat.completions.create(model="m", messages=body("a")["messages"], seed=n) for n in range(6)]
    assert [reply.choices[0].message.content for reply in found] == ["ok"] * 6
    assert endpoint.stats()["complete_twice"] == 0
    assert endpoint.stats()["arrivals"] > 6
    texts = ["a", "b", "a"]
    in_base64 = api.embeddings.create(model="e", input=texts)
    as_numbers = api.embeddings.create(model="e", input=texts, encoding_format="float")
    for answer in (in_base64, as_numbers):
        vectors = [row.embedding for row in answer.data]
        assert [len(vector) for vector in vectors] == [16] * 3
        assert vectors[0] == vectors[2] != vectors[1]
        assert math.isclose(math.hypot(*vectors[0]), 1, rel_tol=1e-6)


def upload(api: openai.OpenAI, count: int) -> openai.types.Batch:
    lines = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body(f"Write 2 new texts {n}")}
        for n in range(count)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = api.files.create(file=("batch.jsonl", data), purpose="batch")
    assert (file.filename, file.bytes, api.files.content(file.id).content) == ("batch.jsonl", len(data), data)
    return api.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "r1"}
    )


def lines(api: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api.files.content(file).text.splitlines()] if file else []


def test_a_batch_is_completed(start: Start) -> None:
    endpoint = start(batch_polls=3, batch_errors=0.4)
    api = client(endpoint)
    made = upload(api, 20)
    assert (made.status, made.metadata) == ("validating", {"run": "r1"})
    states = [api.batches.retrieve(made.id) for _ in range(4)]
    assert [state.status for state in states] == ["in_progress", "in_progress", "completed", "completed"]
    good, bad = lines(api, states[-1].output_file_id), lines(api, states[-1].error_file_id)
    assert {line["custom_id"] for line in good + bad} == {f"c{n}" for n in range(20)}
    assert [line["custom_id"] for line in good] != sorted(line["custom_id"] for line in good)
    counts = states[-1].request_counts
    assert counts is not None
    assert (counts.completed, counts.failed) == (len(good), len(bad))
    assert {line["response"]["status_code"] for line in good} == {200}
    assert {line["response"]["status_code"] for line in bad} == {429, 500}
    reply = openai.types.chat.ChatCompletion.model_validate(good[0]["response"]["body"])
    assert "ok" in str(reply.choices[0].message.content)
    stats = endpoint.stats()
    assert (stats["arrivals"], stats["replies"], stats["complete_twice"]) == (20, {"complete": len(good)}, 0)
    upload(api, 20)
    assert endpoint.stats()["complete_twice"] == len(good)
    with pytest.raises(openai.ConflictError):
        api.batches.cancel(made.id)


def test_batches_expire_fail_are_listed_and_cancelled(start: Start) -> None:
    api = client(start(batch_expire=0.3, batch_polls=1))
    made = upload(api, 20)
    state = api.batches.retrieve(made.id)
    bad = lines(api, state.error_file_id)
    assert state.status == "expired"
    assert {line["error"]["code"] for line in bad} == {"batch_expired"}
    assert len(lines(api, state.output_file_id)) + len(bad) == 20
    second = upload(api, 3)
    assert api.batches.cancel(second.id).status == "cancelling"
    assert api.batches.retrieve(second.id).status == "cancelled"
    third = upload(api, 1)
    page = api.batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == ([third.id, second.id], True)
    assert [batch.id for batch in api.batches.list(limit=1)] == [third.id, second.id, made.id]
    api = client(start(batch_fail=True))
    state = api.batches.retrieve(upload(api, 1).id)
    assert state.status == "failed"
    assert state.errors is not None
    assert [(error.code, error.line) for error in state.errors.data or []] == [("invalid_json_line", 1)]


def test_it_ends_with_its_input_and_names_a_wrong_fault() -> None:
    endpoint = Endpoint()
    endpoint.close()
    assert endpoint.process.returncode == 0
    endpoint = Endpoint()
    endpoint.process.terminate()
    assert endpoint.process.wait(5) == 0
    endpoint.close()
    command = [sys.executable, "-m", "tests.llm.endpoint", "--faults", '{"flood": 1}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("flood", *FAULTS))
