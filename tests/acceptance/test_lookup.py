"""Looking one generation up: from the store, from Luma when need be."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from luma_agents import Luma as AgentsClient
from lumaai import LumaAI

from service.simulator import Fault, Luma, Plan
from tests.acceptance.conftest import Running, Service, run_service
from tests.acceptance.talk import (
    body_of,
    call_back,
    events,
    eventually,
    new_id,
    problem_in,
    read,
    told,
)
from tests.databases import age_missing

pytestmark = pytest.mark.either_database

STALE_AFTER = 0.6
"""Seconds, for the service that tests of staleness share."""
UPSTREAM_TIMEOUT = 2.0
"""Seconds that the same service gives Luma."""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """It takes whatever is quiet for more than half a second for stale.

    It asks for lookups only: on a slow machine, scheduled checks would be counted, too.
    """
    folder = tmp_path_factory.mktemp("impatient")
    given = {
        "TRACKER_STALE_AFTER": str(STALE_AFTER),
        "TRACKER_UPSTREAM_TIMEOUT": str(UPSTREAM_TIMEOUT),
        "TRACKER_RECONCILE": "false",
    }
    with run_service(folder, **given) as running:
        yield running


def get(running: Running, generation_id: str, **headers: str) -> httpx.Response:
    """The whole answer."""
    return running.http.get(f"/v1/generations/{generation_id}", headers=headers)


def asked(running: Running, generation_id: str) -> int:
    """How often Dream Machine was asked for it."""
    return running.luma.count("GET", f"/dream-machine/v1/generations/{generation_id}")


# From the store


@pytest.mark.parametrize("state", ["queued", "dreaming", "completed", "failed"])
def test_what_luma_has_told_is_answered_without_asking_it(shared: Running, state: str) -> None:
    generation_id = told(shared, state)

    answers = [get(shared, generation_id) for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["cache-status"] for answer in answers} == {"luma-tracker; hit"}
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert {answer.json()["state"] for answer in answers} == {state}
    assert shared.luma.count("GET", generation_id) == 0


def test_the_age_counts_from_when_luma_last_told_us_anything(shared: Running) -> None:
    body = body_of(new_id(), "dreaming")
    call_back(shared, body)
    assert get(shared, body["id"]).headers["age"] == "0"

    aged = eventually(
        lambda: (answer := get(shared, body["id"])).headers["age"] != "0" and answer,
        "the answer ages",
    )
    assert isinstance(aged, httpx.Response)
    assert call_back(shared, body).json() == {"outcome": "unchanged"}
    again = get(shared, body["id"])

    assert again.headers["age"] == "0", "being told the same again is news of its age"
    assert again.headers["etag"] == aged.headers["etag"], "and of nothing else"
    assert again.content == aged.content


# The first time


def test_what_nobody_told_is_fetched_once_and_then_known(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.advance(60)

    first, second = get(shared, generation_id), get(shared, generation_id)

    assert first.status_code == 200
    assert first.headers["cache-status"] == "luma-tracker; fwd=miss"
    assert second.headers["cache-status"] == "luma-tracker; hit"
    assert first.content == second.content
    shown = first.json()
    assert shown["assets"] == shared.luma.body(generation_id)["assets"]
    assert (shown["state"], shown["source"], shown["verified"]) == ("completed", "fetch", True)
    assert asked(shared, generation_id) == 1


def test_any_number_of_callers_at_once_cost_one_request(shared: Running) -> None:
    generation_id = shared.luma.create()
    path = f"/dream-machine/v1/generations/{generation_id}"
    shared.luma.fault(Fault(delay=0.5, path=path))

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: get(shared, generation_id), range(24)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert asked(shared, generation_id) == 1


def test_many_callers_for_an_unknown_id_cost_one_request(shared: Running) -> None:
    generation_id = new_id()
    shared.luma.fault(Fault(delay=0.3, path=generation_id, times=None))

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: get(shared, generation_id), range(12)))

    for answer in answers:
        problem_in(answer, 404)
    assert asked(shared, generation_id) == 1


def test_a_caller_who_leaves_does_not_take_the_answer_from_the_others(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.fault(Fault(delay=0.6, path=generation_id, times=None))

    with pytest.raises(httpx.ReadTimeout):
        shared.http.get(f"/v1/generations/{generation_id}", timeout=0.2)
    answer = get(shared, generation_id)

    assert answer.status_code == 200
    assert asked(shared, generation_id) == 1


def test_a_generation_of_either_upstream_is_found(shared: Running) -> None:
    video = shared.luma.create()
    picture = shared.luma.create("image", upstream="agents")

    assert read(shared, video)["upstream"] == "dream_machine"
    assert read(shared, picture)["upstream"] == "agents"


def test_an_upstream_that_fails_does_not_hide_what_the_other_knows(shared: Running) -> None:
    generation_id = shared.luma.create("image", upstream="agents")
    shared.luma.fault(Fault(status=500, path=f"/dream-machine/v1/generations/{generation_id}"))

    assert read(shared, generation_id)["upstream"] == "agents"


def test_what_nobody_knows_is_404_and_asked_for_once_in_a_while(shared: Running) -> None:
    generation_id = new_id()

    problems = [problem_in(get(shared, generation_id), 404) for _ in range(3)]

    assert generation_id in problems[0]["detail"]
    assert problems[0]["hint"]
    assert shared.luma.count("GET", generation_id) == 2, "each upstream once"


def test_a_callback_ends_the_absence_at_once(shared: Running) -> None:
    generation_id = new_id()
    problem_in(get(shared, generation_id), 404)

    call_back(shared, body_of(generation_id, "dreaming"))

    assert read(shared, generation_id)["state"] == "dreaming"


@pytest.mark.parametrize(
    "bad",
    ["x" * 129, "a%20b", "%C3%A4", "a%00b", "a%0A", "%27%3B--", "a%3Fb", "a%25b", "%7B%7D", "*"],
)
def test_an_id_that_cannot_be_luma_s_is_422_and_costs_no_request(shared: Running, bad: str) -> None:
    before = shared.luma.count()

    problem = problem_in(get(shared, bad), 422)

    assert "id" in problem["detail"]
    assert problem["hint"]
    assert shared.luma.count() == before


# What Luma may answer instead

TROUBLE = [
    (Fault(status=400), 502),
    (Fault(status=401), 502),
    (Fault(status=402), 502),
    (Fault(status=403), 502),
    (Fault(status=422, body=b'{"detail": [{"loc": ["path"], "msg": "no"}]}'), 502),
    (Fault(status=429, headers={"Retry-After": "1"}), 503),
    (Fault(status=500), 503),
    (Fault(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"), 503),
    (Fault(status=503, headers={"Retry-After": "1"}), 503),
    (Fault(drop=True), 503),
    (Fault(body=b"<html>Sign in</html>", content_type="text/html"), 502),
    (Fault(body=b"[]"), 502),
    (Fault(body=b""), 502),
    (Fault(body=b'{"detail": "x"}'), 502),
    (Fault(body=b'{"id": "somebody-else", "state": "completed"}'), 502),
    (Fault(status=204, body=b"", headers={"content-length": "0"}), 502),
    (Fault(status=302, headers={"Location": "/elsewhere"}), 502),
]
IN_TROUBLE = pytest.mark.parametrize(
    ("trouble", "status"),
    TROUBLE,
    ids=[f"{t.status or ''} {t.body!r:.20} {t.drop}" for t, _ in TROUBLE],
)


@pytest.fixture(autouse=True)
def _luma_is_well(luma_is_well: None) -> None:
    """What a test before has done to Luma is over."""


def _befall(luma: Luma, trouble: Fault, generation_id: str) -> None:
    luma.fault(replace(trouble, path=f"/generations/{generation_id}", times=None))


@IN_TROUBLE
def test_when_nothing_is_stored_the_failure_of_luma_is_told(
    shared: Running, trouble: Fault, status: int
) -> None:
    generation_id = shared.luma.create()
    _befall(shared.luma, trouble, generation_id)

    answer = get(shared, generation_id)

    problem = problem_in(answer, status)
    assert "dream_machine" in problem["detail"] or "agents" in problem["detail"]
    assert problem["hint"]
    assert ("retry-after" in answer.headers) is (status == 503)
    assert int(answer.headers.get("retry-after", "1")) >= 1


@IN_TROUBLE
def test_when_it_is_stored_no_failure_of_luma_fails_the_read(
    shared: Running, trouble: Fault, status: int
) -> None:
    generation_id = told(shared, "dreaming")
    before = get(shared, generation_id)
    _befall(shared.luma, trouble, generation_id)

    answer = shared.http.get(f"/v1/generations/{generation_id}", params={"fresh": True})

    assert answer.status_code == 200
    assert answer.content == before.content
    assert asked(shared, generation_id) == 1


def test_a_luma_that_does_not_answer_is_not_waited_for_longer_than_is_set(
    impatient: Running,
) -> None:
    known, unknown = told(impatient, "dreaming"), new_id()
    for generation_id in (known, unknown):
        impatient.luma.fault(Fault(delay=60, path=generation_id, times=None))

    began = time.monotonic()
    stored = impatient.http.get(f"/v1/generations/{known}?fresh=true")
    between = time.monotonic()
    missing = get(impatient, unknown)

    assert stored.json()["state"] == "dreaming"
    assert problem_in(missing, 503)["detail"]
    assert int(missing.headers["retry-after"]) >= 1
    assert UPSTREAM_TIMEOUT <= between - began < UPSTREAM_TIMEOUT + 6
    assert UPSTREAM_TIMEOUT <= time.monotonic() - between < UPSTREAM_TIMEOUT + 6


@pytest.mark.parametrize(
    ("dream_machine", "agents", "status"),
    [(503, 404, 503), (404, 503, 503), (401, 404, 502), (404, 403, 502), (401, 503, 503)],
)
def test_unknown_is_only_what_every_upstream_says_it_does_not_know(
    shared: Running, dream_machine: int, agents: int, status: int
) -> None:
    generation_id = new_id()
    shared.luma.fault(
        Fault(status=dream_machine, path=f"/dream-machine/v1/generations/{generation_id}")
    )
    shared.luma.fault(Fault(status=agents, path=f"/agents/v1/generations/{generation_id}"))

    problem_in(get(shared, generation_id), status)


def test_a_failure_is_not_remembered_once_luma_is_well_again(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.fault(Fault(status=500, path=f"/dream-machine/v1/generations/{generation_id}"))
    problem_in(get(shared, generation_id), 503)

    assert read(shared, generation_id)["id"] == generation_id


# Asking Luma on purpose


@pytest.mark.parametrize(
    ("parameters", "headers"),
    [
        ({"fresh": "true"}, {}),
        ({"fresh": "1"}, {}),
        ({}, {"Cache-Control": "no-cache"}),
        ({}, {"Cache-Control": "max-age=0, No-Cache"}),
    ],
)
def test_fresh_asks_luma_first(
    shared: Running, parameters: dict[str, str], headers: dict[str, str]
) -> None:
    generation_id = shared.luma.create()
    assert read(shared, generation_id)["state"] == "queued"
    shared.luma.advance(60)
    assert read(shared, generation_id)["state"] == "queued", "nobody told us"

    answer = shared.http.get(f"/v1/generations/{generation_id}", params=parameters, headers=headers)

    assert answer.json()["state"] == "completed"
    assert answer.json()["rev"] == 2
    assert answer.headers["cache-status"] == "luma-tracker; fwd=stale"
    assert answer.headers["age"] == "0"
    assert asked(shared, generation_id) == 2


def test_fresh_on_what_is_unknown_asks_even_if_luma_has_just_denied_it(shared: Running) -> None:
    generation_id = new_id()
    problem_in(get(shared, generation_id), 404)
    shared.luma.create(id=generation_id)

    assert read(shared, generation_id, fresh=True)["id"] == generation_id


@pytest.mark.parametrize("value", ["maybe", "", "2"])
def test_fresh_takes_yes_or_no(shared: Running, value: str) -> None:
    generation_id = told(shared)

    answer = shared.http.get(f"/v1/generations/{generation_id}", params={"fresh": value})

    assert "fresh" in problem_in(answer, 422)["detail"]


def test_an_unknown_parameter_is_named_and_refused(shared: Running) -> None:
    answer = shared.http.get(f"/v1/generations/{told(shared)}", params={"frehs": "true"})

    assert "frehs" in problem_in(answer, 422)["detail"]


def test_a_claim_made_by_callback_is_confirmed_by_luma_itself(shared: Running) -> None:
    generation_id = shared.luma.create(callback_url=shared.callback_url)
    shared.luma.advance(60)
    claimed = read(shared, generation_id)

    confirmed = read(shared, generation_id, fresh=True)

    assert (claimed["verified"], confirmed["verified"]) == (False, True)
    assert confirmed["rev"] == claimed["rev"] + 1
    assert confirmed["assets"] == claimed["assets"]
    assert read(shared, generation_id, fresh=True) == confirmed, "and then nothing is new"


def test_luma_overrules_what_a_callback_has_claimed(shared: Running) -> None:
    generation_id = shared.luma.create(plan=Plan(outcome="failed", failure_reason="Job failed"))
    shared.luma.advance(60)
    call_back(shared, body_of(generation_id, "completed"))
    assert read(shared, generation_id)["state"] == "completed"

    settled = read(shared, generation_id, fresh=True)

    assert (settled["state"], settled["verified"]) == ("failed", True)
    assert settled["assets"] == {"video": None, "image": None, "progress_video": None}
    assert settled["failure_reason"] == "Job failed"
    assert call_back(shared, body_of(generation_id, "completed")).json() == {"outcome": "stale"}
    assert read(shared, generation_id) == settled, "a confirmed state is beyond callbacks"


def test_what_luma_no_longer_knows_is_still_read_but_marked_as_gone(shared: Running) -> None:
    generation_id = told(shared)
    shared.luma.create(id=generation_id)
    with LumaAI(base_url=shared.luma.dream_machine_url, auth_token="luma-key") as client:
        client.generations.delete(generation_id)
    before = read(shared, generation_id)

    once = read(shared, generation_id, fresh=True)
    age_missing(shared.database, generation_id, lambda: read(shared, generation_id, fresh=True))
    gone = read(shared, generation_id, fresh=True)

    assert before["gone_at"] is None
    assert once == before
    assert gone["gone_at"]
    assert gone["rev"] == before["rev"] + 1
    assert (gone["state"], gone["assets"]) == (before["state"], before["assets"])
    assert read(shared, generation_id) == gone
    assert read(shared, generation_id, fresh=True) == gone, "it cannot go twice"


# Validators


def test_who_has_it_already_is_told_304_without_a_body(shared: Running) -> None:
    generation_id = told(shared)
    etag = get(shared, generation_id).headers["etag"]
    assert etag.startswith('"'), "a strong validator"

    for tag in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = get(shared, generation_id, **{"If-None-Match": tag})

        assert answer.status_code == 304, tag
        assert answer.content == b""
        assert answer.headers["etag"] == etag
        assert answer.headers["cache-status"] == "luma-tracker; hit"
        assert int(answer.headers["age"]) >= 0


def test_who_has_an_older_one_is_given_the_new_one(shared: Running) -> None:
    generation_id = told(shared, "dreaming")
    old = get(shared, generation_id).headers["etag"]
    call_back(shared, body_of(generation_id, "completed"))

    answer = get(shared, generation_id, **{"If-None-Match": old})

    assert answer.status_code == 200
    assert answer.headers["etag"] != old


def test_the_body_and_its_etag_are_the_same_whatever_happens_around_them(
    shared: Running,
) -> None:
    generation_id = shared.luma.create()
    answers = [get(shared, generation_id), get(shared, generation_id)]
    answers.append(shared.http.get(f"/v1/generations/{generation_id}?fresh=true"))
    answers.append(shared.http.get(f"/v1/generations/{generation_id}?wait=0"))

    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1


def test_head_answers_as_get_does_without_the_body(shared: Running) -> None:
    generation_id = told(shared)

    head, full = shared.http.head(f"/v1/generations/{generation_id}"), get(shared, generation_id)

    assert head.status_code == 200
    assert head.content == b""
    for name in ("etag", "content-type", "content-length", "cache-status"):
        assert head.headers[name] == full.headers[name]


# Waiting


async def _waiting(
    running: Running, generation_id: str, then: Callable[[], object], **asked_for: Any
) -> tuple[httpx.Response, float]:
    """The answer to a request that was already waiting when `then` happened, and how long after."""
    async with httpx.AsyncClient(base_url=running.service.url, timeout=70) as http:
        path = f"/v1/generations/{generation_id}"
        request = asyncio.ensure_future(http.get(path, **asked_for))
        done, _ = await asyncio.wait({request}, timeout=0.7)
        assert not done, "it should still be waiting"
        await asyncio.to_thread(then)
        at = time.monotonic()
        return await asyncio.wait_for(request, 15), time.monotonic() - at


async def test_wait_answers_as_soon_as_the_callback_comes(shared: Running) -> None:
    generation_id = shared.luma.create(callback_url=shared.callback_url)
    shared.luma.advance(1)

    answer, after = await _waiting(
        shared, generation_id, lambda: shared.luma.advance(60), params={"wait": 30}
    )

    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"
    assert after < 3
    assert "preference-applied" not in answer.headers


async def test_wait_answers_when_the_generation_fails_too(shared: Running) -> None:
    generation_id = told(shared, "dreaming")

    answer, after = await _waiting(
        shared,
        generation_id,
        lambda: call_back(shared, body_of(generation_id, "failed")),
        params={"wait": 30},
    )

    assert answer.json()["state"] == "failed"
    assert after < 3


async def test_prefer_wait_does_the_same_and_says_so(shared: Running) -> None:
    generation_id = told(shared, "dreaming")

    answer, after = await _waiting(
        shared,
        generation_id,
        lambda: call_back(shared, body_of(generation_id)),
        headers={"Prefer": "respond-async, wait=600"},
    )

    assert answer.json()["state"] == "completed"
    assert answer.headers["preference-applied"] == "wait=60", "shortened"
    assert after < 3


async def test_every_caller_who_waits_is_answered(shared: Running) -> None:
    generation_id = told(shared, "dreaming")
    async with httpx.AsyncClient(base_url=shared.service.url, timeout=70) as http:
        path = f"/v1/generations/{generation_id}"
        requests = [asyncio.ensure_future(http.get(path, params={"wait": 30})) for _ in range(10)]
        done, _ = await asyncio.wait(requests, timeout=0.5)
        assert not done
        await asyncio.to_thread(call_back, shared, body_of(generation_id))
        answers = await asyncio.wait_for(asyncio.gather(*requests), 15)

    assert {answer.json()["state"] for answer in answers} == {"completed"}
    assert shared.luma.count("GET", generation_id) == 0


async def test_wait_sees_what_another_process_has_heard(shared: Running) -> None:
    generation_id = shared.luma.create()
    read(shared, generation_id)
    shared.luma.advance(60)

    answer, after = await _waiting(
        shared,
        generation_id,
        lambda: shared.service.command("get", generation_id, "--fresh").check_returncode(),
        params={"wait": 30},
    )

    assert answer.json()["state"] == "completed"
    assert after < 3


@pytest.mark.parametrize(
    "asked_for", [{"params": {"wait": "0.5"}}, {"headers": {"Prefer": "wait=1"}}]
)
def test_a_wait_that_runs_out_answers_with_the_state_as_it_stands(
    shared: Running, asked_for: dict[str, Any]
) -> None:
    generation_id = told(shared, "dreaming")

    began = time.monotonic()
    answer = shared.http.get(f"/v1/generations/{generation_id}", **asked_for)
    took = time.monotonic() - began

    assert answer.status_code == 200
    assert answer.json()["state"] == "dreaming"
    assert 0.5 <= took < 6
    applied = "wait=1" if "headers" in asked_for else None
    assert answer.headers.get("preference-applied") == applied


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_what_is_terminal_is_not_waited_for(shared: Running, state: str) -> None:
    generation_id = told(shared, state)

    began = time.monotonic()
    answer = shared.http.get(f"/v1/generations/{generation_id}", params={"wait": 60})

    assert answer.json()["state"] == state
    assert time.monotonic() - began < 5


def test_what_nobody_knows_is_waited_for_as_long_as_was_asked(shared: Running) -> None:
    began = time.monotonic()
    answer = shared.http.get(f"/v1/generations/{new_id()}", params={"wait": 1})

    problem_in(answer, 404)
    assert 1 <= time.monotonic() - began < 5


def test_what_nobody_knows_yet_is_answered_when_a_callback_names_it(shared: Running) -> None:
    generation_id = new_id()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            shared.http.get, f"/v1/generations/{generation_id}", params={"wait": 30}
        )
        httpx.post(shared.callback_url, json={"id": generation_id, "state": "failed"})
        answer = waiting.result(10)

    assert (answer.status_code, answer.json()["state"]) == (200, "failed")


@pytest.mark.parametrize("wait", ["61", "60.5", "-1", "nan", "inf", "soon", ""])
def test_a_wait_out_of_bounds_is_422(shared: Running, wait: str) -> None:
    answer = shared.http.get(f"/v1/generations/{told(shared)}", params={"wait": wait})

    assert "wait" in problem_in(answer, 422)["detail"]


@pytest.mark.parametrize("prefer", ["wait=soon", "wait", "wait=-1", "respond-async", "await=3"])
def test_a_preference_that_is_not_understood_is_ignored(shared: Running, prefer: str) -> None:
    answer = get(shared, told(shared, "dreaming"), Prefer=prefer)

    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


# What has been quiet for too long


def test_what_has_been_quiet_is_answered_at_once_and_refreshed_behind(impatient: Running) -> None:
    generation_id = impatient.luma.create()
    read(impatient, generation_id)
    impatient.luma.advance(60)

    answer = eventually(
        lambda: (
            (got := get(impatient, generation_id)).headers["cache-status"].endswith("fwd=stale")
            and got
        ),
        "it becomes stale",
    )

    assert isinstance(answer, httpx.Response)
    assert answer.json()["state"] == "queued", "answered as it was"
    new = eventually(
        lambda: (
            (got := get(impatient, generation_id)).headers["cache-status"] == "luma-tracker; hit"
            and got
        ),
        "it is refreshed",
    )
    assert isinstance(new, httpx.Response)
    assert new.json()["state"] == "completed"
    assert asked(impatient, generation_id) == 2


def test_readers_of_something_stale_cost_one_request_together(impatient: Running) -> None:
    generation_id = told(impatient, "dreaming")
    impatient.luma.create(id=generation_id)
    impatient.luma.fault(Fault(delay=1.5, path=generation_id, times=None))
    eventually(
        lambda: get(impatient, generation_id).headers["cache-status"].endswith("fwd=stale"),
        "it becomes stale",
    )

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: get(impatient, generation_id), range(12)))

    assert {answer.status_code for answer in answers} == {200}
    eventually(lambda: asked(impatient, generation_id), "Luma is asked behind the answers")
    assert asked(impatient, generation_id) == 1
    assert impatient.luma.count("GET", f"/agents/v1/generations/{generation_id}") == 0, (
        "only the upstream whose generation it is"
    )


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_what_is_final_never_gets_stale(impatient: Running, state: str) -> None:
    generation_id = told(impatient, state)

    eventually(lambda: int(get(impatient, generation_id).headers["age"]) > STALE_AFTER, "it ages")

    answer = get(impatient, generation_id)
    assert answer.headers["cache-status"] == "luma-tracker; hit"


def test_a_stale_row_outlives_an_upstream_that_is_down(impatient: Running) -> None:
    generation_id = told(impatient, "dreaming")
    impatient.luma.fault(Fault(status=503, path=generation_id, times=None))

    eventually(
        lambda: (
            get(impatient, generation_id).status_code == 200 and asked(impatient, generation_id) > 1
        ),
        "Luma is asked in vain",
    )

    assert read(impatient, generation_id)["state"] == "dreaming"


def test_without_callbacks_a_wait_asks_luma_itself(impatient: Running) -> None:
    generation_id = impatient.luma.create()
    read(impatient, generation_id)
    impatient.luma.advance(60)

    began = time.monotonic()
    shown = read(impatient, generation_id, wait=30)

    assert shown["state"] == "completed"
    assert time.monotonic() - began < 10
    assert asked(impatient, generation_id) >= 2


# The Agents API


def _imagine(running: Running, prompt: str = "a teddy bear") -> str:
    """An image that Luma's own client has asked the Agents API for."""
    url = running.luma.agents_url
    with AgentsClient(base_url=url, auth_token="luma-api-key", max_retries=0) as client:
        made = client.generations.create(prompt=prompt, model="uni-1")
    assert made.id
    return made.id


def test_a_generation_of_the_agents_api_is_followed_through_its_states(shared: Running) -> None:
    generation_id = _imagine(shared)
    seen = [read(shared, generation_id)]
    for seconds in (0.5, 60):
        shared.luma.advance(seconds)
        seen.append(read(shared, generation_id, fresh=True))

    assert [shown["state"] for shown in seen] == ["queued", "processing", "completed"]
    assert {shown["upstream"] for shown in seen} == {"agents"}
    assert {shown["operation"] for shown in seen} == {"image"}
    assert {shown["model"] for shown in seen} == {"uni-1"}
    assert [shown["terminal"] for shown in seen] == [False, False, True]
    assert seen[0]["assets"] == {"video": None, "image": None, "progress_video": None}
    assert "X-Amz-Expires" in seen[2]["assets"]["image"]
    assert seen[2]["outputs"] == [{"type": "image", "url": seen[2]["assets"]["image"]}]
    assert [shown["rev"] for shown in seen] == [1, 2, 3]


def test_a_presigned_url_is_handed_out_again_while_it_can_be_used(shared: Running) -> None:
    generation_id = _imagine(shared)
    shared.luma.advance(60)
    first = get(shared, generation_id)

    again = [get(shared, generation_id) for _ in range(3)]

    assert {answer.content for answer in again} == {first.content}
    assert shared.luma.count("GET", f"/agents/v1/generations/{generation_id}") == 1


def test_a_presigned_url_that_has_run_out_is_renewed_before_it_is_handed_out(
    shared: Running,
) -> None:
    generation_id = _imagine(shared)
    shared.luma.advance(60)
    signed = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    url = f"https://storage.example/o.png?X-Amz-Date={signed}&X-Amz-Expires=3"
    body = {**shared.luma.body(generation_id), "output": [{"type": "image", "url": url}]}
    path = f"/agents/v1/generations/{generation_id}"
    shared.luma.fault(Fault(body=json.dumps(body).encode(), path=path))
    first = get(shared, generation_id)
    assert first.json()["assets"]["image"] == url

    renewed = eventually(
        lambda: (got := get(shared, generation_id)).content != first.content and got,
        "the URL is renewed",
    )

    assert isinstance(renewed, httpx.Response)
    new = renewed.json()
    assert renewed.headers["cache-status"] == "luma-tracker; fwd=stale"
    assert parse_qs(urlsplit(new["assets"]["image"]).query)["X-Amz-Expires"] == ["3600"]
    assert new["outputs"][0]["url"] == new["assets"]["image"]
    assert new["rev"] == first.json()["rev"], "the asset is the same one"
    assert renewed.headers["etag"] != first.headers["etag"], "but the bytes are not"
    assert shared.luma.count("GET", path) == 2


def test_why_a_generation_of_the_agents_api_failed_is_shown(shared: Running) -> None:
    generation_id = shared.luma.create(
        "video",
        upstream="agents",
        plan=Plan(outcome="failed", failure_reason="No.", failure_code="content_moderated"),
    )
    shared.luma.advance(60)

    shown = read(shared, generation_id)

    assert (shown["state"], shown["generation_type"]) == ("failed", "video")
    assert (shown["failure_reason"], shown["failure_code"]) == ("No.", "content_moderated")


# Every operation


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("video", "video"),
        ("image", "image"),
        ("upscale_video", "video"),
        ("add_audio", "video"),
        ("reframe_image", "image"),
        ("reframe_video", "video"),
        ("modify_video", "video"),
    ],
)
@pytest.mark.parametrize("way", ["callback", "fetch"])
def test_every_operation_is_known_for_what_it_is(
    shared: Running, operation: str, kind: str, way: str
) -> None:
    url = shared.callback_url if way == "callback" else None
    generation_id = shared.luma.create(operation, callback_url=url)
    shared.luma.advance(60)

    shown = read(shared, generation_id)

    assert (shown["operation"], shown["generation_type"]) == (operation, kind)
    assert shown["source"] == way
    assert shown["assets"] == shared.luma.body(generation_id)["assets"]


def test_changes_are_told_apart_by_how_we_learnt_of_them(shared: Running) -> None:
    generation_id = shared.luma.create(callback_url=shared.callback_url)
    read(shared, generation_id)
    shared.luma.advance(60)
    read(shared, generation_id, fresh=True)

    history = events(shared, generation_id)

    assert [event["source"] for event in history] == ["fetch", "callback", "callback", "fetch"]
    assert [bool(event["delivery_id"]) for event in history] == [False, True, True, False]


# Without keys


def test_without_any_key_the_store_is_served_and_the_rest_is_explained(
    start_service: Callable[..., Service], shared: Running
) -> None:
    service = start_service(LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")
    known, unknown = new_id(), new_id()
    with httpx.Client(base_url=service.url) as http:
        assert http.post(shared.service.callback_path, json=body_of(known)).status_code == 200

        answer = http.get(f"/v1/generations/{known}?fresh=true")
        problem = problem_in(http.get(f"/v1/generations/{unknown}"), 404)

    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"
    assert "LUMAAI_API_KEY" in problem["hint"]
