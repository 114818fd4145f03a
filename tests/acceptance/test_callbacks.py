"""Luma's callbacks: all is kept byte for byte, and what is understood is answered with 200."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from lumaai import LumaAI

from tests.acceptance.conftest import Running, Service
from tests.acceptance.talk import body_of, call_back, events, new_id, problem_in, read, rows, told
from tests.conftest import PAYLOADS

MIB = 1024 * 1024
GENERATIONS = sorted(name for name, body in PAYLOADS.items() if "id" in body)
NO_GENERATIONS = sorted(name for name, body in PAYLOADS.items() if "id" not in body)
STATES = ("queued", "dreaming", "completed", "failed")


def deliveries(running: Running, body: bytes) -> list[tuple[Any, ...]]:
    """What the inbox holds under exactly these bytes: outcome, error, duplicates, generation."""
    statement = "SELECT outcome, error, duplicates, generation_id FROM deliveries WHERE body = ?"
    return rows(running.database, statement, body)


def inbox_size(running: Running) -> int:
    """How many deliveries are kept."""
    return int(rows(running.database, "SELECT count(*) FROM deliveries")[0][0])


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_body_as_luma_sends_it_is_answered_200_kept_byte_for_byte_and_shown(
    shared: Running, name: str
) -> None:
    said = {**PAYLOADS[name], "id": new_id()}
    body = json.dumps(said, indent=1).encode()

    answer = call_back(shared, body)

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "applied"}
    assert deliveries(shared, body) == [("applied", None, 0, said["id"])]
    shown = read(shared, said["id"])
    asked = said["request"]
    assert shown["state"] == said["state"]
    assert shown["terminal"] is (said["state"] in ("completed", "failed"))
    assert shown["upstream"] == "dream_machine"
    assert shown["generation_type"] == said.get("generation_type", said.get("type"))
    assert shown["operation"] == asked.get("generation_type", asked.get("type"))
    assert shown["model"] == said["model"]
    assert shown["prompt"] == (asked.get("prompt") or None)
    assert shown["failure_reason"] == said.get("failure_reason")
    none = {"video": None, "image": None, "progress_video": None}
    assert shown["assets"] == {**none, **(said.get("assets") or {})}
    assert shown["source"] == "callback"
    assert shown["verified"] is False
    assert shown["rev"] == 1
    assert (shown["finished_at"] is not None) is shown["terminal"]
    assert shared.luma.count("GET", said["id"]) == 0


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_request_is_shown_as_luma_echoes_it_but_for_the_callback_url(
    shared: Running, name: str
) -> None:
    said = {**PAYLOADS[name], "id": new_id()}
    call_back(shared, said)

    shown = read(shared, said["id"])["request"]

    url = said["request"].get("callback_url")
    assert shown.keys() == said["request"].keys()
    assert {**shown, "callback_url": url} == {**said["request"], "callback_url": url}
    assert url is None or url not in json.dumps(shown)


def test_the_time_of_creation_is_luma_s_own(shared: Running) -> None:
    said = body_of(new_id(), "queued", created_at="2023-06-01T14:00:00+02:00")

    call_back(shared, said)

    assert read(shared, said["id"])["created_at"] == "2023-06-01T12:00:00.000000Z"


@pytest.mark.parametrize("name", NO_GENERATIONS)
def test_an_error_body_of_luma_s_is_no_generation_yet_it_is_kept(
    shared: Running, name: str
) -> None:
    body = json.dumps({**PAYLOADS[name], "n": new_id()}).encode()

    problem_in(call_back(shared, body), 422)

    [(outcome, error, duplicates, generation_id)] = deliveries(shared, body)
    assert (outcome, duplicates, generation_id) == ("kept", 0, None)
    assert error


@pytest.mark.parametrize("second", STATES)
@pytest.mark.parametrize("first", STATES)
def test_states_go_by_rank_whatever_order_they_arrive_in(
    shared: Running, first: str, second: str
) -> None:
    rank = {"queued": 1, "dreaming": 2, "completed": 3, "failed": 3}
    generation_id = told(shared, first)

    answer = call_back(shared, {**body_of(generation_id, second), "told": "anew"})

    assert answer.status_code == 200
    if first == second:
        assert answer.json() == {"outcome": "unchanged"}
    elif rank[second] > rank[first]:
        assert answer.json() == {"outcome": "applied"}
    else:
        assert answer.json() == {"outcome": "stale"}
    winner = second if rank[second] > rank[first] else first
    shown = read(shared, generation_id)
    assert shown["state"] == winner
    assert bool(shown["assets"]["video"]) is (winner == "completed")
    assert shown["failure_reason"] == ("Job failed" if winner == "failed" else None)
    assert shown["rev"] == len(events(shared, generation_id))


def test_the_life_of_a_generation_leaves_one_event_for_every_change(shared: Running) -> None:
    generation_id = new_id()
    life = [PAYLOADS[f"CONSTRUCTED_video_{state}"] for state in ("queued", "dreaming")]
    life += [PAYLOADS["CONSTRUCTED_video_dreaming_with_progress"]]
    life += [PAYLOADS["CONSTRUCTED_video_completed"]]

    outcomes = [call_back(shared, {**body, "id": generation_id}).json()["outcome"] for body in life]

    assert outcomes == ["applied"] * 4
    history = events(shared, generation_id)
    assert [event["to_state"] for event in history] == [
        "queued",
        "dreaming",
        "dreaming",
        "completed",
    ]
    assert [event["from_state"] for event in history] == [None, "queued", "dreaming", "dreaming"]
    assert [event["rev"] for event in history] == [1, 2, 3, 4]
    assert read(shared, generation_id)["rev"] == 4


def test_the_same_bytes_again_are_unchanged_and_counted_as_a_duplicate(shared: Running) -> None:
    body = json.dumps(body_of(new_id())).encode()

    answers = [call_back(shared, body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    outcomes = [answer.json()["outcome"] for answer in answers]
    assert outcomes == ["applied", "unchanged", "unchanged"]
    [(outcome, _, duplicates, _)] = deliveries(shared, body)
    assert (outcome, duplicates) == ("applied", 2)


def test_of_one_callback_sent_many_times_at_once_exactly_one_is_applied(shared: Running) -> None:
    body = json.dumps(body_of(new_id())).encode()
    url = shared.callback_url  # before the threads start
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: shared.http.post(url, content=body), range(16)))

    assert {answer.status_code for answer in answers} == {200}
    counted = Counter(answer.json()["outcome"] for answer in answers)
    assert counted == {"applied": 1, "unchanged": 15}
    [(_, _, duplicates, generation_id)] = deliveries(shared, body)
    assert duplicates == 15
    assert len(events(shared, generation_id)) == 1


def test_the_states_of_one_generation_told_all_at_once_end_in_the_highest(
    shared: Running,
) -> None:
    ids = [new_id() for _ in range(20)]
    bodies = [body_of(each, state) for state in STATES[:3] for each in ids]
    assert shared.callback_url
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda body: call_back(shared, body), bodies))

    assert {answer.status_code for answer in answers} == {200}
    for generation_id in ids:
        shown = read(shared, generation_id)
        assert shown["state"] == "completed"
        history = events(shared, generation_id)
        assert [event["rev"] for event in history] == list(range(1, shown["rev"] + 1))
        assert all(a["to_state"] == b["from_state"] for a, b in pairwise(history))


def test_a_state_that_nobody_knows_is_applied_and_shown_as_told(shared: Running) -> None:
    generation_id = told(shared, "dreaming")

    answer = call_back(shared, body_of(generation_id, "dreaming", state="pondering"))

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "applied"}
    shown = read(shared, generation_id)
    assert (shown["state"], shown["terminal"]) == ("pondering", False)


@pytest.mark.parametrize(
    "more",
    [
        {"new_field": {"deep": [1, 2.5, None, True, "ä☃"]}},
        {"assets": {"video": "https://v.example/v.mp4", "audio": "https://v.example/a.mp3"}},
        {"assets": ["not", "an", "object"]},
        {"request": "not an object"},
        {"model": 7, "created_at": "yesterday", "failure_reason": {"a": 1}},
        {"created_at": 1748608496, "state": None},
        {"prompt": "a\u0000b", "note": "\ud800"},
    ],
    ids=" ".join,
)
def test_fields_that_nobody_foresaw_do_not_matter(shared: Running, more: dict[str, Any]) -> None:
    body = json.dumps(body_of(new_id(), "completed", **more)).encode()

    answer = call_back(shared, body)

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "applied"}
    [(outcome, error, _, generation_id)] = deliveries(shared, body)
    assert (outcome, error) == ("applied", None)
    assert read(shared, generation_id)["id"] == generation_id


@pytest.mark.parametrize("missing", sorted(PAYLOADS["CONSTRUCTED_video_completed"].keys() - {"id"}))
def test_a_field_that_is_missing_does_not_matter(shared: Running, missing: str) -> None:
    body = body_of(new_id())
    del body[missing]

    answer = call_back(shared, body)

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "applied"}
    assert read(shared, body["id"])["terminal"] is (missing != "state")


def test_an_id_alone_is_enough_to_be_stored(shared: Running) -> None:
    generation_id = new_id()

    answer = call_back(shared, {"id": generation_id})

    assert answer.status_code == 200
    assert read(shared, generation_id)["terminal"] is False


def test_what_was_missing_is_filled_in_by_a_later_callback(shared: Running) -> None:
    generation_id = new_id()
    call_back(shared, {"id": generation_id, "state": "dreaming"})

    call_back(shared, body_of(generation_id, "dreaming"))

    shown = read(shared, generation_id)
    assert (shown["model"], shown["operation"]) == ("ray-2", "video")
    assert shown["rev"] == 2


def test_the_order_of_keys_tells_nothing_new(shared: Running) -> None:
    body = body_of(new_id())
    call_back(shared, body)

    answer = call_back(shared, dict(reversed(body.items())))

    assert answer.json() == {"outcome": "unchanged"}
    assert read(shared, body["id"])["rev"] == 1


@pytest.mark.parametrize("usable", ["a", "x" * 128, "AZaz09._:-", "019aa:b.c_d-e", "..."])
def test_an_id_of_any_form_that_the_contract_allows_is_taken(shared: Running, usable: str) -> None:
    assert call_back(shared, body_of(usable)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'["3fa85f64"]',
        b'"3fa85f64"',
        b"null",
        b"17",
        b"{}",
        b'{"id": null}',
        b'{"id": 17}',
        b'{"id": ""}',
        b'{"id": ["x"]}',
        b'{"id": "a/b"}',
        b'{"id": "a b"}',
        b'{"id": "a\\n"}',
        b'{"id": "\\u00e4"}',
        b'{"id": "' + b"x" * 129 + b'"}',
        b'{"id": "x", "state": "completed"',
        b'{"id": "x"} {"id": "y"}',
        b"\xff\xfe\xfa\x00",
        b'{"id": "x", "a": "\xff"}',
        b"[" * 200_000,
        gzip.compress(b'{"id": "zipped"}', mtime=0),
        b"id=x&state=completed",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_without_a_usable_generation_is_refused_with_422_and_kept(
    shared: Running, body: bytes
) -> None:
    problem = problem_in(call_back(shared, body), 422)

    assert problem["detail"]
    [(outcome, error, duplicates, generation_id)] = deliveries(shared, body)
    assert (outcome, duplicates, generation_id) == ("kept", 0, None)
    assert error
    handled = rows(shared.database, "SELECT handled_at FROM deliveries WHERE body = ?", body)
    assert handled == [(None,)]


@pytest.fixture
def wrong_tokens(shared: Running) -> list[str]:
    right = shared.callback_url.rpartition("/")[2]
    value, _, signature = right.partition(".")
    return [
        "wrong",
        value,
        signature,
        f"{value}.",
        f".{signature}",
        right[:-1],
        right + "A",
        right.swapcase(),
        f"other.{signature}",
        f"{right}.{signature}",
        f"%20{right}",
        "%C3%A4",
        "%00",
        "any.any",
        "x" * 5000,
    ]


def test_a_wrong_token_is_404_and_writes_nothing(shared: Running, wrong_tokens: list[str]) -> None:
    generation_id = new_id()
    before = inbox_size(shared)

    for token in wrong_tokens:
        answer = shared.http.post(f"/callbacks/{token}", json=body_of(generation_id))
        problem_in(answer, 404)

    assert inbox_size(shared) == before
    found = rows(shared.database, "SELECT id FROM generations WHERE id = ?", generation_id)
    assert found == []


@pytest.mark.either_database
def test_a_wrong_token_is_refused_before_its_body_is_looked_at(shared: Running) -> None:
    problem_in(shared.http.post("/callbacks/wrong", content=b"x" * (MIB + 1)), 404)


def _padded(generation_id: str, size: int) -> bytes:
    start = json.dumps(body_of(generation_id)).encode()
    return start + b" " * (size - len(start))


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_of_exactly_one_mebibyte_is_taken(shared: Running, chunked: bool) -> None:
    body = _padded(new_id(), MIB)
    content = (body[at : at + 65536] for at in range(0, MIB, 65536)) if chunked else body

    answer = shared.http.post(shared.callback_url, content=content)

    assert answer.status_code == 200
    assert len(deliveries(shared, body)) == 1


@pytest.mark.either_database
@pytest.mark.parametrize("size", [MIB + 1, 4 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_larger_body_is_413_and_not_kept(shared: Running, size: int, chunked: bool) -> None:
    generation_id = new_id()
    before = inbox_size(shared)
    body = _padded(generation_id, size)
    content = (body[at : at + 65536] for at in range(0, size, 65536)) if chunked else body

    answer = shared.http.post(shared.callback_url, content=content)

    problem_in(answer, 413)
    assert inbox_size(shared) == before
    assert call_back(shared, body_of(generation_id)).status_code == 200, "the service lives on"


@pytest.mark.either_database
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": ""},
        {"content-type": "application/json; charset=latin-1"},
        {"content-encoding": "gzip"},
        {"content-encoding": "br"},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"host": "tunnel.example"},
        {"authorization": "Bearer whatever"},
        {"accept": "text/html"},
        {"expect": "100-continue"},
        {"x-forwarded-proto": "http", "x-forwarded-host": "elsewhere.example"},
    ],
    ids=str,
)
def test_no_header_keeps_a_callback_out(shared: Running, headers: dict[str, str]) -> None:
    body = body_of(new_id())

    answer = call_back(shared, body, **headers)

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "applied"}
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert read(shared, body["id"])["state"] == "completed"


@pytest.mark.either_database
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_of_any_encoding_is_read(shared: Running, encoding: str) -> None:
    said = body_of(new_id(), failure_reason="zu groß ☃")
    body = json.dumps(said, ensure_ascii=False).encode(encoding)

    assert call_back(shared, body).status_code == 200

    assert len(deliveries(shared, body)) == 1
    assert read(shared, said["id"])["state"] == "completed"


@pytest.mark.either_database
def test_the_query_of_a_callback_url_does_not_matter(shared: Running) -> None:
    answer = shared.http.post(f"{shared.callback_url}?job=1&x=%20", json=body_of(new_id()))

    assert answer.status_code == 200


@pytest.mark.either_database
@pytest.mark.parametrize("around", ["{}/", "{}/more", "/{}"])
def test_another_path_is_404_and_never_a_redirect(shared: Running, around: str) -> None:
    before = inbox_size(shared)
    token = shared.callback_url.rpartition("/")[2]

    answer = shared.http.post(f"/callbacks/{around.format(token)}", json=body_of(new_id()))

    problem_in(answer, 404)
    assert inbox_size(shared) == before


@pytest.mark.either_database
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_is_a_callback(shared: Running, method: str) -> None:
    answer = shared.http.request(method, shared.callback_url)

    problem_in(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.either_database
def test_a_url_that_the_command_line_prints_always_stays_the_same(shared: Running) -> None:
    assert shared.service.callback_url == shared.callback_url


def _make(shared: Running) -> str:
    """A generation made through Luma's own client, with our callback URL."""
    url, sdk = shared.luma.dream_machine_url, shared.callback_url
    with LumaAI(base_url=url, auth_token="luma-key", max_retries=0) as client:
        made = client.generations.create(model="ray-2", prompt="a lake", callback_url=sdk)
    assert made.id
    return made.id


@pytest.mark.parametrize("repeated", [1, 3])
@pytest.mark.parametrize("reordered", [False, True], ids=["in order", "reordered"])
def test_luma_s_own_way_of_calling_back_ends_in_the_right_row(
    shared: Running, repeated: int, reordered: bool
) -> None:
    shared.luma.repeat_callbacks = repeated
    shared.luma.reorder_callbacks = reordered
    try:
        generation_id = _make(shared)
        shared.luma.advance(60)
    finally:
        shared.luma.repeat_callbacks = 1
        shared.luma.reorder_callbacks = False

    attempts = [a for a in shared.luma.attempts if a.generation_id == generation_id]
    assert [attempt.status for attempt in attempts] == [200] * 2 * repeated
    assert {attempt.attempt for attempt in attempts} == {1}, "Luma never had to try again"
    shown = read(shared, generation_id)
    assert shown["state"] == "completed"
    assert shown["assets"] == shared.luma.body(generation_id)["assets"]
    expected = ["completed"] if reordered else ["dreaming", "completed"]
    assert [event["to_state"] for event in events(shared, generation_id)] == expected
    assert shared.luma.count("GET", generation_id) == 0
    counted = rows(
        shared.database,
        "SELECT outcome, duplicates FROM deliveries WHERE generation_id = ? ORDER BY outcome",
        generation_id,
    )
    outcomes = ["applied", "stale"] if reordered else ["applied", "applied"]
    assert counted == [(outcome, repeated - 1) for outcome in outcomes]


def test_a_callback_may_come_before_the_create_has_been_answered(shared: Running) -> None:
    body = body_of(new_id(), "dreaming")

    assert call_back(shared, body).json() == {"outcome": "applied"}

    shared.luma.create(id=body["id"], prompt="an old lady laughing")
    assert read(shared, body["id"])["state"] == "dreaming"


def test_many_generations_can_call_back_at_the_same_time(shared: Running) -> None:
    made = [shared.luma.create(callback_url=shared.callback_url) for _ in range(100)]

    shared.luma.advance(60)

    attempts = [a for a in shared.luma.attempts if a.generation_id in made]
    assert {attempt.status for attempt in attempts} == {200}
    assert len(attempts) == 200
    listed: list[dict[str, Any]] = shared.http.get(
        "/v1/generations", params={"id": made, "limit": 200}
    ).json()["items"]
    assert {item["id"] for item in listed} == set(made)
    assert {item["state"] for item in listed} == {"completed"}


@pytest.mark.either_database
def test_a_client_that_hangs_up_in_the_middle_leaves_nothing_behind(shared: Running) -> None:
    before = inbox_size(shared)
    generation_id = new_id()

    def broken() -> Iterator[bytes]:
        yield b'{"id": "' + generation_id.encode()
        raise ConnectionAbortedError

    with httpx.Client() as client, pytest.raises(ConnectionAbortedError):
        client.post(shared.callback_url, content=broken())

    assert call_back(shared, body_of(new_id())).status_code == 200
    assert inbox_size(shared) == before + 1


@pytest.mark.either_database
@pytest.mark.parametrize(
    ("padding", "status"),
    [("[" + "[]," * 340_000 + "[]]", 422), ('"' + "x" * 1_000_000 + '"', 200)],
    ids=["brackets", "a text"],
)
def test_forty_callbacks_of_a_megabyte_at_once_take_little_memory(
    service: Service, padding: str, status: int
) -> None:
    bodies = [
        f'{{"id":"g{n}","state":"dreaming","request":{{"a":{padding}}}}}'.encode()
        for n in range(40)
    ]
    before = _resident(service.process.pid)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda b: httpx.post(service.callback_url, content=b), bodies))
    assert {answer.status_code for answer in answers} == {status}
    assert _resident(service.process.pid) - before < 250_000_000, "it took 1.1 GB"


def _resident(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024
