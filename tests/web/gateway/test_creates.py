"""Creates through the gateway: at most once, whatever Luma answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from service.config import Settings
from service.simulator import Fault, Luma
from service.storage.engine.batches import dump_json
from tests.waiting import until
from tests.web.gateway.creating import (
    AGENTS,
    CREATED,
    PUBLIC_URL,
    VIDEO,
    fault,
    instance,
    post,
    sent,
    submission,
)

pytestmark = pytest.mark.thorough_on_postgres

HERS = "https://hers.example/hook"


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with instance(settings) as client:
        yield client


@pytest.fixture
async def hasty(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an instance that gives Luma little time."""
    async with instance(settings, upstream_timeout=0.6) as client:
        yield client


async def test_without_a_key_nothing_is_sent_and_the_setting_is_named(
    settings: Settings, luma: Luma
) -> None:
    async with instance(settings, luma_agents_api_key=None) as http:
        answer = await post(http, {"prompt": "a lake"}, AGENTS)
    assert answer.status_code == 401
    assert answer.json() == {
        "detail": "The tracker has no API key for agents. Set LUMA_AGENTS_API_KEY where it runs."
    }
    assert luma.count("POST") == 0


async def test_a_create_is_answered_as_luma_answers_it(http: httpx.AsyncClient, luma: Luma) -> None:
    answer = await post(http)

    body = answer.json()
    assert answer.status_code == 201
    assert body == {**luma.body(body["id"]), "request": body["request"]}
    assert body["request"]["callback_url"] is None
    assert "idempotency-replayed" not in answer.headers
    assert await submission(http, answer) == {
        "id": answer.headers["x-submission-id"],
        "state": "accepted",
        "generation_id": body["id"],
        "status": 201,
        "created_at": (await submission(http, answer))["created_at"],
    }


async def test_the_answer_is_stored_before_the_caller_has_it(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    created = (await post(http)).json()

    stored = (await http.get(f"/v1/generations/{created['id']}")).json()

    assert (stored["source"], stored["verified"], stored["prompt"]) == (
        "submit",
        True,
        VIDEO["prompt"],
    )
    assert luma.count("GET") == 0


async def test_luma_gets_our_callback_url_and_the_caller_sees_its_own(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    answer = await post(http, {**VIDEO, "callback_url": HERS})

    [body] = map(json.loads, sent(luma))
    assert body["callback_url"].startswith(f"{PUBLIC_URL}/callbacks/")
    assert body == {**VIDEO, "callback_url": body["callback_url"]}
    assert answer.json()["request"]["callback_url"] == HERS
    read = await http.get(f"/dream-machine/v1/generations/{answer.json()['id']}")
    assert read.json()["request"]["callback_url"] == HERS
    assert "hers.example" not in (await http.get(f"/v1/generations/{answer.json()['id']}")).text


async def test_each_create_has_a_callback_url_of_its_own(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    await asyncio.gather(*(post(http) for _ in range(3)))
    assert len({json.loads(body)["callback_url"] for body in sent(luma)}) == 3


async def test_the_agents_api_never_sees_a_callback_url(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    for headers, body in [
        ({"x_callback_url": HERS}, {"prompt": "a lake"}),
        ({}, {"prompt": "a lake", "callback_url": HERS}),
    ]:
        answer = await post(http, body, AGENTS, **headers)
        assert answer.status_code == 201
        assert answer.headers["x-api-version"]
        stored = (await http.get(f"/v1/generations/{answer.json()['id']}")).json()
        assert (stored["prompt"], stored["request"]) == ("a lake", {"prompt": "a lake"})
    assert sent(luma) == [b'{"prompt": "a lake"}'] * 2
    assert not any("x-callback-url" in seen.headers for seen in luma.requests)


async def test_bodies_reach_the_agents_api_byte_for_byte(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    bodies = [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"prompt": "a lake",  "x": 1.10, "x": 1e400}',
        b'{"prompt":"\\u00e4\xc3\xa4", "unknown": null}',
    ]
    answers = [await post(http, body, AGENTS) for body in bodies]
    assert sent(luma) == bodies
    assert [each.status_code for each in answers] == [422, 422, 422, 422, 201, 201]
    assert all(each.headers["x-submission-id"] for each in answers)


async def test_a_large_body_passes_and_a_huge_one_is_413(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    large = dump_json({"prompt": "a lake", "source": {"data": "A" * 4_000_000}}).encode()
    assert (await post(http, large, AGENTS)).status_code == 201
    assert luma.requests[-1].headers["content-length"] == str(len(large))

    answer = await post(http, b" " * (33 * 1024 * 1024), AGENTS)

    assert answer.status_code == 413
    assert [*answer.json()] == ["detail"]
    assert luma.count("POST") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("{}/upscale", {"resolution": "1080p"}),
        ("{}/audio", {"prompt": "rain"}),
        ("video", {**VIDEO, "keyframes": {"frame1": {"type": "generation", "id": "{}"}}}),
    ],
)
async def test_the_parent_is_known(
    http: httpx.AsyncClient, luma: Luma, path: str, body: dict[str, object]
) -> None:
    parent = luma.create()
    filled = json.loads(json.dumps(body).replace("{}", parent))

    answer = await post(http, filled, f"/dream-machine/v1/generations/{path.format(parent)}")

    assert answer.status_code == (200 if "{" in path else 201)
    stored = (await http.get(f"/v1/generations/{answer.json()['id']}")).json()
    assert stored["parent_id"] == parent


async def test_a_path_that_is_written_otherwise_is_a_create_too(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    path = "/dream-machine/v1/generations/%76ideo"
    answer = await post(http, {**VIDEO, "callback_url": HERS}, path)
    assert answer.headers["x-submission-id"]
    assert all(b"hers.example" not in body for body in sent(luma))


# --- keys


async def test_a_key_answers_the_first_ones_answer(http: httpx.AsyncClient, luma: Luma) -> None:
    first, second = [await post(http, idempotency_key="k") for _ in range(2)]

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["x-submission-id"] == first.headers["x-submission-id"]
    assert luma.count("POST") == 1


async def test_a_key_lives_through_restarts_and_on_all_instances(
    settings: Settings, luma: Luma
) -> None:
    parent = luma.create()
    path = f"/dream-machine/v1/generations/{parent}/upscale"
    async with instance(settings) as here, instance(settings) as there:
        first = await post(here, {}, path, idempotency_key="k")
        second = await post(there, {}, path, idempotency_key="k")
    async with instance(settings) as restarted:
        third = await post(restarted, {}, path, idempotency_key="k")

    for each in (second, third):
        assert (each.status_code, each.content) == (200, first.content)
        assert each.headers["idempotency-replayed"] == "true"
        assert each.headers["content-type"] == "application/json"
        assert each.headers["x-submission-id"] == first.headers["x-submission-id"]
    assert luma.count("POST") == 1


async def test_a_key_with_another_body_or_path_is_422(http: httpx.AsyncClient, luma: Luma) -> None:
    first = await post(http, idempotency_key="k")
    others = [
        await post(http, {**VIDEO, "prompt": "another"}, idempotency_key="k"),
        await post(http, {**VIDEO, "callback_url": HERS}, idempotency_key="k"),
        await post(http, path="/dream-machine/v1/generations", idempotency_key="k"),
        await post(http, path=f"{CREATED}?x=1", idempotency_key="k"),
        await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k"),
    ]
    for each in others:
        assert each.status_code == 422
        assert "Idempotency-Key" in each.json()["detail"]
        assert each.headers["x-submission-id"] == first.headers["x-submission-id"]
    assert luma.count("POST") == 1


async def test_keys_are_per_token(http: httpx.AsyncClient, luma: Luma) -> None:
    first = await post(http, idempotency_key="k")
    second = await post(http, idempotency_key="k", authorization="Bearer other")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_cannot_be_kept_is_422_and_costs_nothing(
    http: httpx.AsyncClient, luma: Luma, key: str
) -> None:
    assert (await post(http, idempotency_key=key)).status_code == 422
    assert luma.count("POST") == 0


async def test_two_keys_are_422_and_cost_nothing(http: httpx.AsyncClient, luma: Luma) -> None:
    keys = [("Idempotency-Key", "k"), ("Idempotency-Key", "l")]
    answer = await http.post(CREATED, json=VIDEO, headers=keys)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert (await submission(http, answer))["state"] == "refused"
    assert luma.count("POST") == 0


async def test_what_we_refuse_is_in_the_journal_and_frees_the_key(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    nonsense = {**VIDEO, "callback_url": "nonsense"}
    refused = [
        await post(http, idempotency_key=""),
        await post(http, nonsense, idempotency_key="k"),
        await post(http, {"prompt": "a lake"}, AGENTS, x_callback_url="http://10.0.0.1/"),
    ]
    for answer in refused:
        assert answer.status_code == 422
        found = await submission(http, answer)
        assert (found["state"], found["status"], found["generation_id"]) == ("refused", 422, None)
    assert luma.count("POST") == 0
    assert (await post(http, idempotency_key="k")).status_code == 201


@pytest.mark.thorough
async def test_a_storm_of_one_key_over_two_instances_is_one_create(
    settings: Settings, luma: Luma
) -> None:
    fault(luma, answer_delay=0.3)
    async with instance(settings) as here, instance(settings) as there:
        storm = (post(each, idempotency_key="k") for each in [here, there] * 50)
        answers = await asyncio.gather(*storm)

    assert luma.count("POST") == 1
    assert len({(each.status_code, each.content) for each in answers}) == 1
    assert answers[0].status_code == 201
    assert sum("idempotency-replayed" not in each.headers for each in answers) == 1


async def test_a_storm_of_many_keys_is_as_many_creates(settings: Settings, luma: Luma) -> None:
    rate = {"dream_machine_rate": "1000/second"}
    async with instance(settings, **rate) as here, instance(settings, **rate) as there:
        storm = (
            post(each, idempotency_key=str(number))
            for number in range(20)
            for each in (here, there)
        )
        answers = await asyncio.gather(*storm)

    assert {each.status_code for each in answers} == {201}
    assert luma.count("POST") == len({each.json()["id"] for each in answers}) == 20


# --- what Luma refuses


async def test_a_refusal_is_passed_on_and_replayed(settings: Settings, luma: Luma) -> None:
    body = b'{"detail": "Insufficient credits"}'
    fault(luma, status=402, body=body, headers={"X-Request-Id": "r"})
    async with instance(settings) as here, instance(settings) as there:
        first = await post(here, idempotency_key="k")
        second = await post(there, idempotency_key="k")

    for each in (first, second):
        assert (each.status_code, each.content, each.headers["x-request-id"]) == (402, body, "r")
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["x-submission-id"] == first.headers["x-submission-id"]
    assert luma.count("POST") == 1


async def test_an_error_that_echoes_the_body_does_not_show_our_url(
    http: httpx.AsyncClient,
) -> None:
    answer = await post(http, {"prompt": "no model", "callback_url": HERS})
    assert answer.status_code == 422
    assert "/callbacks/" not in answer.text
    assert "no model" in answer.text
    assert (await submission(http, answer))["state"] == "refused"


async def test_a_rate_limit_is_passed_on_and_frees_the_key(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    limit = {"Retry-After": "12", "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "0"}
    fault(luma, status=429, headers=limit, body=b'{"detail": "Rate limit exceeded"}')
    refused = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")
    assert (refused.status_code, refused.json()) == (429, {"detail": "Rate limit exceeded"})
    assert {name: refused.headers[name] for name in limit} == limit
    assert (await submission(http, refused))["state"] == "refused"

    paused = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")

    assert paused.status_code == 503
    assert 1 <= int(paused.headers["retry-after"]) <= 12
    assert "idempotency-replayed" not in paused.headers
    assert luma.count("POST") == 1


async def test_too_many_jobs_frees_the_key_and_pauses_nothing(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    jobs = b'{"detail": "Too many concurrent jobs"}'
    fault(luma, status=429, headers={"Retry-After": "60"}, body=jobs)
    refused = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")
    assert (refused.status_code, refused.content) == (429, jobs)
    assert refused.headers["retry-after"] == "60"

    known = luma.create(upstream="agents", operation="image")
    assert (await http.get(f"{AGENTS}/{known}")).status_code == 200
    again = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")

    assert again.status_code == 201
    assert again.headers["x-submission-id"] != refused.headers["x-submission-id"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
async def test_a_5xx_is_passed_on_and_frees_the_key(
    http: httpx.AsyncClient, luma: Luma, status: int
) -> None:
    fault(luma, status=status, body=b'{"detail": "400: odd"}')
    refused = await post(http, idempotency_key="k")
    assert (refused.status_code, refused.json()) == (status, {"detail": "400: odd"})
    assert (await submission(http, refused))["state"] == "refused"
    again = await post(http, idempotency_key="k")
    assert again.status_code == 201
    assert "idempotency-replayed" not in again.headers


async def until_linked(http: httpx.AsyncClient, created: httpx.Response) -> str:
    """The generation of a create, within the promised time."""
    deadline = time.monotonic() + 15
    while not (found := await submission(http, created))["generation_id"]:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    assert found["state"] == "accepted"
    return str(found["generation_id"])


async def test_a_5xx_that_made_a_generation_is_linked(http: httpx.AsyncClient, luma: Luma) -> None:
    fault(luma, status=502, processed=True)
    refused = await post(http)
    assert refused.status_code == 502
    made = await until_linked(http, refused)
    assert luma.body(made)["request"]["prompt"] == VIDEO["prompt"]


@pytest.mark.parametrize(
    "lost",
    [
        {"drop": True, "processed": True},
        {"answer_delay": 2.0},
        *(
            pytest.param(lost, marks=pytest.mark.thorough)
            for lost in (
                {"drop": True, "processed": True, "answer_delay": 0.2},
                {"drop_after": 10},
                {"drop_after": 0},
            )
        ),
    ],
)
async def test_a_lost_answer_is_504_and_its_generation_is_found(
    hasty: httpx.AsyncClient, luma: Luma, lost: dict[str, object]
) -> None:
    for number in range(3):
        luma.create(prompt=f"another {number}")
    fault(luma, **lost)

    answer = await post(hasty, {**VIDEO, "callback_url": HERS}, idempotency_key="k")

    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    assert [*answer.json()] == ["detail"]
    made = await until_linked(hasty, answer)
    again = await post(hasty, {**VIDEO, "callback_url": HERS}, idempotency_key="k")
    assert (again.status_code, again.json()["id"]) == (201, made)
    assert again.json()["request"]["callback_url"] == HERS
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-submission-id"] == answer.headers["x-submission-id"]
    assert luma.count("POST") == 1


async def test_a_lost_create_that_was_found_is_the_answer_to_the_sdk_s_retry(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    """The 504 has reached the caller, but is not final."""
    fault(luma, drop=True, processed=True)
    made = await until_linked(http, await post(http))
    retry = await post(http, x_stainless_retry_count="1")
    assert (retry.status_code, retry.json()["id"]) == (201, made)
    assert luma.count("POST") == 1


async def test_a_lost_create_is_found_by_another_instance(settings: Settings, luma: Luma) -> None:
    fault(luma, drop=True, processed=True)
    luma.fault(Fault(method="GET", path="/generations", status=500, times=2))
    async with instance(settings, upstream_timeout=0.6) as here:
        answer = await post(here, idempotency_key="k")
    async with instance(settings) as there:
        made = await until_linked(there, answer)
        again = await post(there, idempotency_key="k")
    assert (again.status_code, again.json()["id"]) == (201, made)


@pytest.mark.parametrize("headers", [{"idempotency_key": "k"}, {"x_stainless_retry_count": "1"}])
async def test_until_it_is_found_nothing_is_sent_again(
    http: httpx.AsyncClient, luma: Luma, headers: dict[str, str]
) -> None:
    luma.fault(Fault(method="GET", path="/generations", status=500, times=None))
    fault(luma, drop=True)
    first = await post(http, **headers)
    for _ in range(3):
        again = await post(http, **headers)
        assert again.status_code == 504
        assert again.headers["x-should-retry"] == "false"
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-submission-id"] == first.headers["x-submission-id"]
    assert luma.count("POST") == 1
    found = await submission(http, first)
    assert (found["state"], found["generation_id"], found["status"]) == ("unknown", None, 504)


async def test_a_lost_create_of_the_agents_api_stays_unknown(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    fault(luma, drop=True, processed=True)
    answer = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")
    assert answer.status_code == 504
    assert (await submission(http, answer))["state"] == "unknown"
    again = await post(http, {"prompt": "a lake"}, AGENTS, idempotency_key="k")
    assert again.status_code == 504
    assert luma.count(None, "/generations") == 1


async def test_a_connection_that_is_cut_while_the_request_is_sent_counts_as_sent(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    fault(luma, drop=True, unread=True)
    assert (await post(http)).status_code == 504


async def test_a_refused_connection_is_503_and_safe_to_repeat(settings: Settings) -> None:
    nowhere = {"dream_machine_url": "http://127.0.0.1:9/dream-machine/v1"}
    async with instance(settings, **nowhere) as http:
        first, second = [await post(http, idempotency_key="k") for _ in range(2)]
        for each in (first, second):
            assert each.status_code == 503
            assert int(each.headers["retry-after"]) >= 1
            assert [*each.json()] == ["detail"]
            assert "idempotency-replayed" not in each.headers
            assert (await submission(http, each))["state"] == "refused"
        assert first.headers["x-submission-id"] != second.headers["x-submission-id"]


async def test_a_spent_budget_is_503_within_the_timeout(settings: Settings, luma: Luma) -> None:
    async with instance(settings, dream_machine_rate="2/minute", upstream_timeout=0.5) as http:
        answers = [await post(http, idempotency_key=str(number)) for number in range(3)]
        while answers[-1].status_code == 201:
            answers.append(await post(http, idempotency_key="last"))
        spent = answers[-1]
        assert spent.status_code == 503
        assert 1 <= int(spent.headers["retry-after"]) <= 60
        assert spent.elapsed.total_seconds() < 1
        assert (await submission(http, spent))["generation_id"] is None
        asked = luma.count()
    assert asked == luma.count("POST") == len(answers) - 1, (
        "nothing that was not sent is looked for"
    )


async def test_a_success_without_an_id_is_passed_on_and_looked_for(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    fault(luma, status=201, body=b'{"state": "queued"}', processed=True)
    answer = await post(http, idempotency_key="k")
    assert (answer.status_code, answer.content) == (201, b'{"state": "queued"}')
    await until_linked(http, answer)
    again = await post(http, idempotency_key="k")
    assert (again.status_code, again.content) == (201, answer.content)
    assert luma.count("POST") == 1


async def test_a_success_that_is_too_large_to_keep_does_not_show_our_url(
    http: httpx.AsyncClient,
) -> None:
    frame = {"type": "image", "url": "https://a.example/" + "x" * 300_000}
    answer = await post(http, {**VIDEO, "callback_url": HERS, "keyframes": {"frame0": frame}})
    assert answer.status_code == 201
    assert "/callbacks/" not in answer.text
    assert answer.json()["request"]["callback_url"] == HERS


async def test_a_synchronous_create_may_take_longer(hasty: httpx.AsyncClient, luma: Luma) -> None:
    fault(luma, answer_delay=1.2)
    body = {"prompt": "a lake", "model": "photon-1", "sync": True, "sync_timeout": 5}
    answer = await post(hasty, body, "/dream-machine/v1/generations/image")
    assert (answer.status_code, answer.json()["state"]) == (201, "completed")


async def test_an_answer_that_never_ends_is_cut_off_in_time(settings: Settings) -> None:
    closed = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b" ")
                await asyncio.sleep(0.05)
        finally:  # the lookup of what became of it may still be here when the test ends
            writer.transport.abort()
        closed.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, instance(settings, dream_machine_url=url, upstream_timeout=0.5) as http:
        answer = await post(http)
        await asyncio.wait_for(closed.wait(), 10)
    assert answer.status_code == 504
    assert 0.4 < answer.elapsed.total_seconds() < 10, "the bytes would come for 50 s"


# --- the SDK's own retries


async def test_a_retry_count_without_an_earlier_attempt_is_a_new_create(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    for number, body in enumerate([VIDEO, {**VIDEO, "prompt": "another"}], start=1):
        answer = await post(http, body, x_stainless_retry_count="1")
        assert answer.status_code == 201
        assert luma.count("POST") == number


async def test_a_second_create_with_the_same_body_is_a_new_one(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    first = await post(http, x_stainless_retry_count="0")
    second = await post(http, x_stainless_retry_count="0")
    third = await post(http, x_stainless_retry_count="1")
    assert len({each.json()["id"] for each in (first, second, third)}) == 3


async def test_a_retry_of_a_create_that_is_under_way_waits_for_its_answer(
    settings: Settings, luma: Luma
) -> None:
    fault(luma, answer_delay=0.5)
    async with instance(settings) as here, instance(settings) as there:
        first = asyncio.create_task(post(here))
        await asyncio.to_thread(until, lambda: luma.count("POST"))
        retries = [
            post(here, x_stainless_retry_count="1"),
            post(there, x_stainless_retry_count="1"),
        ]
        answers = await asyncio.gather(first, *retries)
    assert len({each.content for each in answers}) == 1
    assert [each.headers.get("idempotency-replayed") for each in answers] == [None, "true", "true"]
    assert luma.count("POST") == 1


async def test_retries_of_equal_creates_get_an_answer_each(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.5, times=3))
    firsts = [asyncio.create_task(post(http)) for _ in range(3)]
    await asyncio.to_thread(until, lambda: luma.count("POST") == 3)
    retries = await asyncio.gather(*(post(http, x_stainless_retry_count="1") for _ in range(3)))
    made = {each.json()["id"] for each in await asyncio.gather(*firsts)}
    assert len(made) == luma.count("POST") == 3
    assert {each.json()["id"] for each in retries} == made


async def test_the_retry_of_another_token_is_a_new_create(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    fault(luma, drop=True)
    await post(http)
    retry = await post(http, x_stainless_retry_count="1", authorization="Bearer other")
    assert retry.status_code == 201


# --- what can be seen from outside


async def test_submissions_are_found_by_id_alone(http: httpx.AsyncClient) -> None:
    for unknown in ("unknown", "a" * 1000, "%00", "%F0%9F%98%80"):
        assert (await http.get(f"/v1/submissions/{unknown}")).status_code == 404


async def test_creates_are_counted_by_outcome(http: httpx.AsyncClient, luma: Luma) -> None:
    async def counted(state: str) -> float:
        name = f'luma_tracker_creates_total{{state="{state}",upstream="dream_machine"}}'
        lines = (await http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before = [await counted(state) for state in ("accepted", "refused", "unknown")]
    await post(http)
    fault(luma, status=400)
    await post(http)
    fault(luma, drop=True)
    await post(http)
    after = [await counted(state) for state in ("accepted", "refused", "unknown")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


async def test_without_a_public_url_nothing_is_put_in(settings: Settings, luma: Luma) -> None:
    async with instance(settings, public_url=None) as http:
        body = b'{"prompt": "a lake", "model": "ray-2", "x": 1.10}'
        assert (await post(http, body)).status_code == 201
        answer = await post(http, {**VIDEO, "callback_url": HERS})
        assert answer.json()["request"]["callback_url"] is None
    assert sent(luma) == [body, json.dumps(VIDEO, separators=(",", ": ")).encode()]


async def test_a_page_of_an_allowed_origin_may_read_the_answer(settings: Settings) -> None:
    page = "https://page.example"
    async with instance(settings, cors_origins=[page]) as http:
        created = await post(http, Origin=page)
    assert created.status_code == 201
    assert created.headers["access-control-allow-origin"] == page
    assert "X-Submission-Id" in created.headers["access-control-expose-headers"]
