"""The REST routes, on the whole application in process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import httpx
import pytest

from service.app import create_app
from service.config import Settings
from service.simulator import Fault, Luma, Plan
from service.tracking.callback_tokens import CallbackTokens
from tests.conftest import PAYLOADS

pytestmark = pytest.mark.either_database

SECRET = "secret-of-the-api-tests"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def client_of(settings: Settings, **changed: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, started with these settings."""
    values = {**settings.model_dump(), "callback_secret": SECRET, "upstream_timeout": 0.5}
    app = create_app(Settings.model_validate({**values, **changed}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with a key to both upstreams."""
    async with client_of(settings) as client:
        yield client


@pytest.fixture
async def keyless(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service without keys: rows stay as callbacks reported them."""
    async with client_of(settings, luma_api_key=None, luma_agents_api_key=None) as client:
        yield client


CALLBACK = f"/callbacks/{CallbackTokens([SECRET]).reusable()}"


async def told(http: httpx.AsyncClient, *bodies: object) -> list[str]:
    """Send callbacks, and return their outcomes."""
    answers = [await http.post(CALLBACK, content=json.dumps(body)) for body in bodies]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json()["outcome"] for answer in answers]


COMPLETED = PAYLOADS["CONSTRUCTED_video_completed"]
ID = COMPLETED["id"]


# --- Callbacks ---------------------------------------------------------------------------------


async def test_a_callback_is_answered_with_exactly_200_and_what_it_did(
    http: httpx.AsyncClient,
) -> None:
    late = {"id": ID, "state": "dreaming"}
    assert await told(http, COMPLETED, COMPLETED, late) == ["applied", "unchanged", "stale"]


async def test_an_unknown_state_is_applied(http: httpx.AsyncClient) -> None:
    assert await told(http, {"id": "a", "state": "pondering"}) == ["applied"]
    assert (await http.get("/v1/generations/a")).json()["state"] == "pondering"


async def test_a_wrong_token_is_404_and_keeps_nothing(http: httpx.AsyncClient) -> None:
    for token in ("x", "any.x", "any", CallbackTokens(["other"]).reusable()):
        answer = await http.post(f"/callbacks/{token}", content=json.dumps(COMPLETED))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await http.get("/v1/generations")).json()["items"] == []


async def test_the_body_is_read_as_it_stands(http: httpx.AsyncClient) -> None:
    odd = [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "nonsense", "Content-Encoding": "gzip"},
        {"Origin": "https://elsewhere.example"},
    ]
    for number, headers in enumerate(odd):
        body = json.dumps({**COMPLETED, "id": f"g{number}"})
        answer = await http.post(CALLBACK, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"outcome": "applied"}), headers


async def test_what_is_no_generation_is_422_and_says_why(http: httpx.AsyncClient) -> None:
    for body in (b"", b"<html>", b"[]", b"{}", b'{"id": "a/b"}', b"\xff\xfe"):
        answer = await http.post(CALLBACK, content=body)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:luma-tracker:unreadable")


async def test_a_body_of_one_mebibyte_is_taken_and_one_more_byte_is_not(
    http: httpx.AsyncClient,
) -> None:
    mebibyte = 1024 * 1024
    body = json.dumps({"id": "a", "state": "queued"}).encode().ljust(mebibyte)
    assert (await http.post(CALLBACK, content=body)).status_code == 200
    assert (await http.post(CALLBACK, content=body + b" ")).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    assert (await http.post(CALLBACK, content=chunks())).status_code == 413


# --- One generation ----------------------------------------------------------------------------


async def test_a_lookup_says_how_old_its_answer_is_and_where_it_is_from(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    made = luma.create()
    for cache_status in ("fwd=miss", "hit"):
        answer = await http.get(f"/v1/generations/{made}")
        assert answer.status_code == 200
        assert answer.headers["cache-status"] == f"luma-tracker; {cache_status}"
        assert answer.headers["age"] == "0"
        assert answer.headers["content-type"] == "application/json"
    fresh = await http.get(f"/v1/generations/{made}", params={"fresh": "true"})
    assert fresh.headers["cache-status"] == "luma-tracker; fwd=stale"
    by_header = {"Cache-Control": "max-age=0, No-Cache"}
    await http.get(f"/v1/generations/{made}", headers=by_header)
    assert luma.count(path="/dream-machine/") == 3


async def test_whoever_has_it_already_is_told_so(keyless: httpx.AsyncClient) -> None:
    await told(keyless, COMPLETED)
    etag = (await keyless.get(f"/v1/generations/{ID}")).headers["etag"]
    assert etag.startswith('"')
    for form in (etag, f"W/{etag}", f'"other", {etag}', "*", f'"other",W/{etag}'):
        answer = await keyless.get(f"/v1/generations/{ID}", headers={"If-None-Match": form})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    for form in (etag[:-2] + '"', '"other"', etag.strip('"'), ""):
        answer = await keyless.get(f"/v1/generations/{ID}", headers={"If-None-Match": form})
        assert answer.status_code == 200, form


async def test_a_change_is_another_tag(http: httpx.AsyncClient) -> None:
    await told(http, {"id": "a", "state": "queued"})
    etag = (await http.get("/v1/generations/a")).headers["etag"]
    await told(http, {"id": "a", "state": "dreaming"})
    answer = await http.get("/v1/generations/a", headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != etag


async def test_a_parameter_that_makes_no_sense_is_422_and_costs_nothing(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    odd = ["wait=61", "wait=-1", "wait=x", "wait=nan", "wait=inf", "wait=", "fresh=x", "wiat=1"]
    for query in odd:
        answer = await http.get(f"/v1/generations/{UNKNOWN}?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["type"] == "urn:luma-tracker:invalid-input"
    assert luma.requests == []


async def test_what_cannot_be_an_id_is_422_and_costs_nothing(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    for odd in ("x" * 129, "a%20b", "a%00", "%C3%A9"):
        for path in (f"/v1/generations/{odd}", f"/v1/generations/{odd}/events"):
            assert (await http.get(path)).status_code == 422, path
    assert luma.requests == []


async def test_a_wait_ends_with_the_generation(http: httpx.AsyncClient) -> None:
    await told(http, COMPLETED)
    answer = await http.get(f"/v1/generations/{ID}", params={"wait": "60"})
    assert answer.json()["terminal"] is True
    assert "preference-applied" not in answer.headers


async def test_a_wait_that_runs_out_answers_what_is_known(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    made = luma.create()
    answer = await http.get(f"/v1/generations/{made}", params={"wait": "0.1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")


async def test_a_preferred_wait_is_shortened_and_said(http: httpx.AsyncClient) -> None:
    await told(http, COMPLETED)
    wanted = {
        "wait=5": "wait=5",
        "respond-async, wait=5": "wait=5",
        'Wait = "5"': "wait=5",
        "wait=600": "wait=60",
        "wait=0": "wait=0",
        "await=5": None,
        "wait=soon": None,
        "": None,
    }
    for prefer, applied in wanted.items():
        answer = await http.get(f"/v1/generations/{ID}", headers={"Prefer": prefer})
        assert answer.status_code == 200
        assert answer.headers.get("preference-applied") == applied, prefer


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (Fault(status=404, times=None), 404, "not-found"),
        (Fault(status=401, times=None), 502, "upstream-refused"),
        (Fault(body=b"<html>", times=None), 502, "upstream-nonsense"),
        (
            Fault(status=429, headers={"Retry-After": "17"}, times=None),
            503,
            "upstream-unavailable",
        ),
        (Fault(delay=0.9, times=None), 503, "upstream-unavailable"),
        (Fault(drop=True, times=None), 503, "upstream-unavailable"),
        (Fault(status=400, body=b'{"detail": "\\ud800"}', times=None), 502, "upstream-refused"),
        (
            Fault(status=503, headers={"Retry-After": "nan"}, times=None),
            503,
            "upstream-unavailable",
        ),
    ],
    ids=["404", "401", "nonsense", "429", "late", "dropped", "half a character", "odd time"],
)
async def test_a_failure_of_luma_is_told_with_its_kind(
    http: httpx.AsyncClient, luma: Luma, fault: Fault, status: int, kind: str
) -> None:
    luma.fault(fault)
    answer = await http.get(f"/v1/generations/{UNKNOWN}")
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:luma-tracker:{kind}"
    assert answer.json()["hint"]
    if status == 503:
        assert int(answer.headers["retry-after"]) == (17 if fault.status == 429 else 5)


async def test_nothing_secret_is_in_an_answer(http: httpx.AsyncClient) -> None:
    url = f"https://tracker.example{CALLBACK}"
    body = {**COMPLETED, "callback_url": url, "request": {"callback_url": url, "x": [1]}}
    await told(http, body)
    for path in (f"/v1/generations/{ID}", "/v1/generations", f"/v1/generations/{ID}/events"):
        text = (await http.get(path)).text
        assert "/callbacks/" not in text
        assert SECRET not in text


# --- Lists -------------------------------------------------------------------------------------


async def test_a_list_links_to_its_next_page_with_all_its_filters(
    http: httpx.AsyncClient,
) -> None:
    await told(http, *({"id": f"g{n}", "state": "queued", "model": "m"} for n in range(5)))
    path: str | None = "/v1/generations?limit=2&state=queued&state=failed&model=m&sort=created_at"
    found: list[str] = []
    for _ in range(3):
        assert path
        answer = await http.get(path)
        page = answer.json()
        found += [item["id"] for item in page["items"]]
        link = answer.links.get("next")
        assert bool(link) is page["has_more"] is bool(page["next_cursor"])
        path = link["url"] if link else None
    assert path is None
    assert found == [f"g{n}" for n in range(5)]


NO_LISTS = [
    "limit=0",
    "limit=201",
    "limit=x",
    "sort=newest",
    "cursor=x",
    *("created_after=yesterday", "created_after=5", "created_before=-1e-39", "q=is:opne"),
    "unknown=1",
    "offset=1",
    f"q={'x' * 501}",
    "gone=perhaps",
]
NO_TIMES = [
    "cursor=LWNyZWF0ZWRfYXR8MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHxh",
    "created_after=0001-01-01T00:00:00%2B14:00",
    "created_before=9999-12-31T23:59:59-14:00",
]


@pytest.mark.parametrize("queries", [NO_LISTS, *([query] for query in NO_TIMES)])
async def test_a_list_that_makes_no_sense_is_422(
    http: httpx.AsyncClient, queries: list[str]
) -> None:
    await told(http, {"id": "a"})
    for query in queries:
        answer = await http.get(f"/v1/generations?{query}")
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_list_that_makes_sense_is_answered(keyless: httpx.AsyncClient) -> None:
    await told(keyless, COMPLETED)
    for query in (
        "created_after=2026-05-30",
        "created_after=2026-05-30T12:34:56",
        "created_before=2026-05-30T14:34:57%2B02:00",
        "created_after=1780142400",
        "created_after=-5200w",
        "q=scuba%20diving",
        "q=scuba+-lake+state:completed+model:ray-2+is:verified,terminal+before:-1s",
        f"id={ID}&id=other",
        "gone=true",
        "sort=-updated_at",
    ):
        answer = await keyless.get(f"/v1/generations?{query}")
        assert (answer.status_code, len(answer.json()["items"])) == (200, 1), query


async def test_a_query_that_does_not_parse_says_where_and_what_would_be_right(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/v1/generations?q=lake+modle:ray-2")
    problem = answer.json()
    [error] = problem["errors"]
    assert (answer.status_code, error["loc"], error["at"]) == (422, ["q"], 5)
    assert "did you mean model?" in error["msg"]
    assert problem["hint"] == "Correct the query at character 5: 'modle:ray-2'."
    [error] = (await http.get(f"/v1/generations?q={'lake+' * 101}")).json()["errors"]
    assert (error["loc"], error["at"]) == (["q"], 500)
    [error] = (await http.get("/v1/generations?fields=stat")).json()["errors"]
    assert error["msg"].startswith("Unknown field `stat`.")


async def test_a_query_with_nul_is_422_and_says_where(http: httpx.AsyncClient) -> None:
    await told(http, COMPLETED)
    answer = await http.get("/v1/generations?q=lake%00")
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["loc"], error["at"]) == (422, ["q"], 4)


async def test_a_list_has_the_same_shape_as_a_lookup(keyless: httpx.AsyncClient) -> None:
    await told(keyless, COMPLETED)
    one = (await keyless.get(f"/v1/generations/{ID}")).json()
    page = (await keyless.get("/v1/generations")).json()
    assert page == {"items": [one], "next_cursor": None, "has_more": False}


async def test_history_comes_in_pages(keyless: httpx.AsyncClient) -> None:
    await told(keyless, *({"id": "a", "state": s} for s in ("queued", "dreaming", "completed")))
    first = (await keyless.get("/v1/generations/a/events", params={"limit": 2})).json()
    assert [event["to_state"] for event in first["items"]] == ["queued", "dreaming"]
    assert first["has_more"] is True
    more = {"cursor": first["next_cursor"]}
    rest = (await keyless.get("/v1/generations/a/events", params=more)).json()
    assert [event["to_state"] for event in rest["items"]] == ["completed"]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    assert all(event["delivery_id"] for event in first["items"])
    assert datetime.fromisoformat(first["items"][0]["at"]).tzinfo


async def test_history_that_makes_no_sense_is_422(http: httpx.AsyncClient) -> None:
    for query in ("limit=0", "limit=999", "cursor=-1", "cursor=x", "cursor=9e30"):
        assert (await http.get(f"/v1/generations/a/events?{query}")).status_code == 422, query


@pytest.mark.parametrize("path", ["/v1/deliveries", "/v1/webhooks/creators/attempts"])
async def test_a_cursor_that_is_no_id_is_422(http: httpx.AsyncClient, path: str) -> None:
    for cursor in ("x", "%00", "", "01a20377-e053-7be0-9c54"):
        answer = await http.get(f"{path}?cursor={cursor}")
        assert answer.status_code == 422, cursor
        assert answer.json()["errors"][0]["loc"] == ["cursor"]
    assert (await http.get(f"{path}?cursor={UUID(int=0)}")).json()["items"] == []


async def test_what_is_not_stored_has_no_history(http: httpx.AsyncClient, luma: Luma) -> None:
    assert (await http.get(f"/v1/generations/{UNKNOWN}/events")).status_code == 404
    assert luma.requests == []


async def test_a_refresh_asks_luma_now_and_answers_like_a_fresh_lookup(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    made = luma.create(plan=Plan(1, 1))
    stored = await http.get(f"/v1/generations/{made}")
    luma.advance(60)
    before = luma.count("GET")

    refreshed = await http.post(f"/v1/generations/{made}/refresh")

    assert luma.count("GET") == before + 1
    assert (stored.json()["terminal"], refreshed.json()["state"]) == (False, "completed")
    assert refreshed.headers["cache-status"] == "luma-tracker; fwd=stale"
    assert refreshed.json() == (await http.get(f"/v1/generations/{made}")).json()


async def test_a_refresh_fails_only_where_nothing_is_stored(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    made = luma.create(plan=Plan(1, 1))
    await http.get(f"/v1/generations/{made}")
    luma.fault(Fault(status=500, times=None))

    stored = await http.post(f"/v1/generations/{made}/refresh")
    unknown = await http.post("/v1/generations/unknown/refresh")
    wrong = await http.post("/v1/generations/a%20b/refresh")
    extra = await http.post(f"/v1/generations/{made}/refresh?frsh=1")

    assert (stored.status_code, stored.json()["id"]) == (200, made)
    assert [each.status_code for each in (unknown, wrong, extra)] == [503, 422, 422]
