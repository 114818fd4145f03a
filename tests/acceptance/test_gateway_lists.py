"""The gateway passes lists on from Luma, learns from them, and has its own while Luma is down."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.simulator import Fault
from service.tracking.callback_tokens import CallbackTokens
from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import body_of, call_back, eventually, ids, new_id, read
from tests.databases import execute

pytestmark = pytest.mark.either_database

LIST = "/dream-machine/v1/generations"
DOWN = "luma-tracker; hit; detail=upstream-down"
ENVELOPE = ["generations", "has_more", "count", "limit", "offset"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of this module's own: lists show everything that there is."""
    folder = tmp_path_factory.mktemp("lists")
    with run_service(folder, TRACKER_UPSTREAM_TIMEOUT="1") as one:
        yield one


@pytest.fixture(autouse=True)
def _luma_is_well(running: Running) -> Iterator[None]:
    yield
    running.luma.clear_faults()
    eventually(
        lambda: running.http.get("/dream-machine/v1/ping").status_code == 200,
        "the breaker has closed",
    )


def listed(running: Running, query: str = "") -> httpx.Response:
    return running.http.get(f"{LIST}{query}")


def direct(running: Running, query: str = "") -> dict[str, Any]:
    """What Luma itself answers."""
    url = f"{running.luma.dream_machine_url}/generations{query}"
    body: dict[str, Any] = httpx.get(url, headers={"Authorization": "Bearer luma-key"}).json()
    return body


def test_a_list_is_lumas_own_and_teaches_the_store(running: Running) -> None:
    made = [running.luma.create(prompt=f"number {n}") for n in range(3)]
    running.luma.advance(60)

    answer = listed(running, "?limit=3&offset=0")

    assert answer.json() == direct(running, "?limit=3")
    assert answer.headers["content-type"] == "application/json"
    assert "cache-status" not in answer.headers
    before = running.luma.count("GET")
    for generation_id in made:
        single = running.http.get(f"{LIST}/{generation_id}")
        assert single.json() == running.luma.body(generation_id)
        assert single.headers["cache-status"] == "luma-tracker; hit"
        assert read(running, generation_id)["verified"] is True
    assert running.luma.count("GET") == before


@pytest.mark.parametrize(
    "query", ["", "?limit=1", "?limit=0", "?limit=1000&offset=1", "?offset=99", "?x=%20y&limit=2"]
)
def test_a_page_is_the_page_that_luma_answers(running: Running, query: str) -> None:
    running.luma.create()

    answer = listed(running, query)

    assert answer.json() == direct(running, query)
    assert running.luma.requests[-2].query == query.removeprefix("?")


@pytest.mark.parametrize("query", ["?limit=x", "?limit=-1", "?offset=", "?limit=1&limit=y"])
def test_a_wrong_question_gets_lumas_own_error(running: Running, query: str) -> None:
    answer = listed(running, query)

    assert (answer.status_code, answer.json()) == (422, direct(running, query))


def test_a_spent_budget_is_no_empty_list(tmp_path: Path) -> None:
    with run_service(tmp_path, TRACKER_DREAM_MACHINE_RATE="3/minute") as hasty:
        hasty.luma.create()
        for _ in range(3):
            hasty.http.get("/dream-machine/v1/ping")

        answer = listed(hasty)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "rate limit" in answer.json()["detail"]


@pytest.mark.parametrize("path", [LIST, f"{LIST}/6e1efa94-c06b-4501-9133-e8e12c54dbd5"])
def test_no_callback_token_leaves_in_what_luma_repeats(running: Running, path: str) -> None:
    token = CallbackTokens(["secret"]).reusable()
    url = f"https://t.example/callbacks/{token}"
    body = json.dumps({"detail": f"{url} is known"}).encode()
    running.luma.fault(Fault(status=400, headers={"location": url}, body=body, times=2))

    answer = running.http.get(path)

    assert answer.status_code == 400
    assert token not in answer.text
    assert token not in str(answer.headers)
    assert answer.headers["location"] == "https://t.example/callbacks/[redacted]"
    assert answer.json()["detail"].startswith("https://t.example/callbacks/[redacted]")


def test_a_list_that_was_compressed_unasked_shows_none_of_our_callback_urls(
    running: Running,
) -> None:
    ours = f"http://127.0.0.1:1{running.service.callback_path}"
    items: list[dict[str, Any]] = [{"id": new_id()}, {"id": []}, {"id": {}}]
    page = {"generations": [{**each, "request": {"callback_url": ours}} for each in items]}
    body = gzip.compress(json.dumps(page).encode())
    running.luma.fault(Fault(body=body, headers={"Content-Encoding": "gzip"}))

    answer = listed(running)

    assert answer.status_code == 200
    assert [each["request"]["callback_url"] for each in answer.json()["generations"]] == [None] * 3


def test_a_slash_at_the_end_shows_none_of_our_callback_urls(running: Running) -> None:
    ours = f"http://127.0.0.1:1{running.service.callback_path}"
    generation_id = running.luma.create(callback_url=ours)
    running.luma.deliver_callbacks = False
    item = running.luma.body(generation_id)
    running.luma.fault(Fault(body=json.dumps(item).encode(), path=f"{generation_id}"))
    one = running.http.get(f"{LIST}/{generation_id}/")
    running.luma.fault(Fault(body=json.dumps({"generations": [item]}).encode()))
    several = listed(running, "/")

    assert one.json()["request"]["callback_url"] is None
    assert several.json()["generations"][0]["request"]["callback_url"] is None


def test_callback_urls_of_ours_are_not_shown(running: Running) -> None:
    ours = f"http://127.0.0.1:1{running.service.callback_path}"
    theirs = "https://example.com/hook"
    generation_id = running.luma.create(callback_url=ours)
    other = running.luma.create(callback_url=theirs)
    running.luma.deliver_callbacks = False

    shown = {each["id"]: each for each in listed(running).json()["generations"]}

    assert shown[generation_id]["request"]["callback_url"] is None
    assert shown[other]["request"]["callback_url"] == theirs
    expected = running.luma.body(generation_id)
    assert shown[generation_id] == {
        **expected,
        "request": {**expected["request"], "callback_url": None},
    }


def test_the_creators_own_callback_url_takes_the_place_of_ours(running: Running) -> None:
    ours = f"http://127.0.0.1:1{running.service.callback_path}"
    generation_id = running.luma.create(callback_url=ours)
    running.luma.deliver_callbacks = False
    running.http.get(f"{LIST}/{generation_id}")
    theirs = 'https://example.com/hook?"=é'
    execute(
        running.database,
        "UPDATE generations SET callback_url = ? WHERE id = ?",
        *(theirs, generation_id),
    )

    shown = {each["id"]: each for each in listed(running).json()["generations"]}

    assert shown[generation_id]["request"]["callback_url"] == theirs


def test_a_token_of_ours_is_taken_out_wherever_luma_quotes_it(running: Running) -> None:
    url = f"http://127.0.0.1:1{running.service.callback_path}"
    body = b'{"generations": [{"id": "x", "failure_reason": "Error calling %s"}]}'
    for answer in (body % url.encode(), b"not even JSON: " + url.encode()):
        running.luma.fault(Fault(path=LIST, body=answer))

        shown = listed(running)

        assert shown.status_code == 200
        assert url.rpartition(".")[2] not in shown.text
        assert "[redacted]" in shown.text


OUTAGES = {
    "refuses": Fault(path=LIST, drop=True),
    "fails": Fault(path=LIST, status=500),
    "is unavailable": Fault(path=LIST, status=503, headers={"Retry-After": "1"}),
    "is slow": Fault(path=LIST, delay=3),
    "breaks off": Fault(path=LIST, drop_after=10),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_with_luma_down_the_store_answers_in_the_same_envelope(
    running: Running, outage: str
) -> None:
    for _ in range(4):
        running.luma.create()
    assert listed(running).status_code == 200
    running.luma.fault(OUTAGES[outage])
    known = running.http.get("/v1/generations?upstream=dream_machine&limit=200").json()["items"]

    answer = listed(running, "?limit=3&offset=1")

    page = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-status"] == DOWN
    assert answer.headers["content-type"] == "application/json"
    assert [*page] == ENVELOPE
    assert {name: page[name] for name in ENVELOPE[1:]} == {
        "has_more": len(known) > 4,
        "count": 3,
        "limit": 3,
        "offset": 1,
    }
    assert ids(page["generations"]) == ids(known)[1:4]
    for each in page["generations"]:
        single = running.http.get(f"{LIST}/{each['id']}").json()
        assert each == single


@pytest.mark.parametrize(
    ("query", "limit", "offset"),
    [
        ("", 100, 0),
        ("?limit=1000", 100, 0),
        ("?limit=0", 0, 0),
        ("?limit=x&offset=-1", 100, 0),
        ("?limit=2&offset=100000", 2, 100_000),
        ("?limit=" + "9" * 5000, 100, 0),
        ("?offset=" + "9" * 30, 100, 2**31),
        ("?limit=%31", 1, 0),
        ("?limit=%d9%a1", 100, 0),
    ],
)
def test_with_luma_down_odd_values_are_taken_calmly(
    running: Running, query: str, limit: int, offset: int
) -> None:
    running.luma.fault(Fault(path=LIST, status=502))

    page = listed(running, query).json()

    assert (page["limit"], page["offset"]) == (limit, offset)
    assert page["count"] == len(page["generations"]) <= limit


def test_with_luma_down_what_is_gone_is_left_out(running: Running) -> None:
    generation_id = running.luma.create()
    running.http.get(f"{LIST}/{generation_id}")
    assert running.http.delete(f"{LIST}/{generation_id}").status_code == 204
    running.luma.fault(Fault(path=LIST, drop=True))

    assert generation_id not in ids(listed(running).json()["generations"])


def test_a_list_says_nothing_against_what_a_later_callback_told(running: Running) -> None:
    generation_id = running.luma.create()
    call_back(running, body_of(generation_id, "completed"))

    listed(running)

    assert read(running, generation_id)["state"] == "completed"


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_of_luma_is_passed_on(running: Running, status: int) -> None:
    headers = {"Retry-After": "0", "X-Request-Id": new_id()}
    running.luma.fault(Fault(path=LIST, status=status, headers=headers))

    answer = listed(running)

    assert answer.status_code == status
    assert [*answer.json()] == ["detail"]
    assert answer.headers["retry-after"] == "0"
    assert answer.headers["x-request-id"] == headers["X-Request-Id"]


def test_the_other_api_has_no_list_and_says_so_itself(running: Running) -> None:
    answer = running.http.get("/agents/v1/generations")

    assert answer.status_code in (404, 405)
    assert answer.headers["x-api-version"]
