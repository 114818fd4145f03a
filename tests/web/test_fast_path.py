"""The fast path and the normal path send the same responses to all requests."""

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import Application, create_app
from service.config import Settings
from service.simulator import Luma
from service.tracking.callback_tokens import CallbackTokens
from service.web.fast_path import FastPath
from tests.conftest import PAYLOADS
from tests.served import served_here
from tests.thoroughness import rounds

pytestmark = pytest.mark.either_database

SECRET = "secret-of-the-tests"
CALLBACK = f"/callbacks/{CallbackTokens([SECRET]).reusable()}"
TOKENS = ("good", "ro:reads")
QUESTIONS = rounds(300, 1000)


@dataclass
class Both:
    """One application with a client of either path."""

    app: Application
    short: httpx.AsyncClient
    ordinary: httpx.AsyncClient
    passed_on: int = 0

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the requests that the fast path passes on."""
        self.passed_on += 1
        await self.app.call_framework(scope, receive, send)

    async def answers(self, method: str, url: str, **given: Any) -> list[httpx.Response]:
        """Return the responses of both; repeat if a new second between them changed `Age`."""
        for _ in range(5):
            both = [
                await each.request(method, url, **given) for each in (self.short, self.ordinary)
            ]
            if both[0].headers.get("age") == both[1].headers.get("age"):
                break
        return both

    async def at_once(self, url: str, **given: Any) -> tuple[httpx.Response, bool]:
        """Return the response of the fast path, and whether it passed nothing on."""
        before = self.passed_on
        answer = await self.short.get(url, **given)
        return answer, self.passed_on == before

    async def warm(self, url: str, **given: Any) -> None:
        """Repeat until the fast path answers alone: changes are followed by then."""
        deadline = monotonic() + 20
        while not (await self.at_once(url, **given))[1]:
            assert monotonic() < deadline, f"{url} is never answered at once"


@asynccontextmanager
async def both_ways(
    settings: Settings, *tokens: str, by_socket: bool = False
) -> AsyncIterator[Both]:
    """An application and its two clients: called directly, or through our server."""
    given = {**settings.model_dump(), "callback_secret": SECRET, "api_tokens": ",".join(tokens)}
    app = create_app(Settings.model_validate(given))
    entrance = at_a_socket if by_socket else called
    async with app.router.lifespan_context(app), entrance(app.call_framework) as ordinary:
        both = Both(app, ordinary, ordinary)
        behind = both.behind
        front = FastPath(
            behind,
            callbacks=app.fast_path.callbacks,
            mcp=behind,
            state=app.state,
            authenticator=app.state.authenticator,
            slow_after=1.0,
        )
        async with entrance(front) as both.short:
            yield both


def called(app: ASGIApp) -> httpx.AsyncClient:
    """A client that calls the application directly."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@asynccontextmanager
async def at_a_socket(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of our server, which calls `respond` first."""
    async with served_here(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def told(both: Both, *bodies: object) -> None:
    """Send callbacks."""
    for body in bodies:
        assert (await both.ordinary.post(CALLBACK, content=json.dumps(body))).is_success


BODIES = [body for name, body in PAYLOADS.items() if "id" in body and "agents" not in name]


@pytest.fixture
async def keyless(settings: Settings) -> AsyncIterator[Both]:
    """Without keys Luma is not asked, so rows stay as callbacks reported them."""
    quiet = settings.model_copy(update={"luma_api_key": None, "luma_agents_api_key": None})
    async with both_ways(quiet) as both:
        yield both


def _sent(tag: str | None) -> list[Mapping[str, str | bytes]]:
    """Headers that a request may have."""
    tags = [tag or '"x"', f"W/{tag}", "*", '"other"', f'"other", {tag}', "not a tag", ""]
    return [
        {},
        *({"If-None-Match": each.encode()} for each in tags),
        {"Cache-Control": "no-cache"},
        {"Cache-Control": "max-age=0"},
        {"Prefer": "wait=0"},
        {"Prefer": "respond-async"},
        {"Origin": "https://evil.example"},
        {"Accept": "text/html"},
        {"Range": "bytes=0-9"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Host": "evil.example"},
        {"User-Agent": b"\xfc", "Accept-Encoding": "gzip, br"},
    ]


IDS = [*(body["id"] for body in BODIES), "unknown", "a b", "x" * 129, "a%2Fb", "%00", ""]
QUERIES = ["", "?", "?wait=0", "?wait=0.01", "?fresh=true", "?fresh=false", "?wait=x", "?so=what"]
TOKENS_SENT = ["Bearer good", "bearer good", "Bearer  reads ", "Bearer wrong", "Basic good", None]


def _without_date(answer: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers of the application; the server adds `Date`."""
    return [(name, value) for name, value in answer.headers.raw if name != b"date"]


_WAYS = pytest.mark.parametrize(
    "by_socket",
    [
        pytest.param(False, id="called", marks=pytest.mark.thorough),
        pytest.param(True, id="asked by our server"),
    ],
)


@_WAYS
async def test_hundreds_of_questions_have_the_same_answers(
    settings: Settings, by_socket: bool
) -> None:
    """Compare status, headers and bytes of both paths."""
    plenty = {"dream_machine_rate": "1000/second", "agents_rate": "1000/second"}
    settings = settings.model_copy(update=plenty)
    async with both_ways(settings, *TOKENS, by_socket=by_socket) as both:
        await told(both, *BODIES)
        first = await both.ordinary.get(
            f"/v1/generations/{IDS[0]}", headers={"Authorization": "Bearer good"}
        )
        each: tuple[Sequence[Any], ...] = (
            ["GET", "GET", "GET", "GET", "HEAD", "POST"],
            IDS,
            [*([""] * 16), *QUERIES],
            [*([{}] * 12), *_sent(first.headers["etag"])],
            ["Bearer good"] * 9 + TOKENS_SENT,
        )
        chance = random.Random(5)
        for _ in range(QUESTIONS):
            method, id_, query, sent, token = map(chance.choice, each)
            sent_token = token.strip() if token and by_socket else token  # as read from a socket
            headers = {**sent, **({"Authorization": sent_token} if sent_token else {})}
            short, ordinary = await both.answers(
                method, f"/v1/generations/{id_}{query}", headers=headers
            )
            asked = (method, id_, query, headers)
            assert short.status_code == ordinary.status_code, asked
            assert _without_date(short) == _without_date(ordinary), asked
            assert short.content == ordinary.content, asked
        assert both.passed_on < QUESTIONS * 0.8, "many were answered at once"


GATEWAYS = ["/dream-machine/v1", "/agents/v1"]
GATEWAY_PATHS = [
    *(f"generations/{body['id']}" for body in BODIES),
    *("generations/unknown", "generations/a%20b", "generations/..", "generations/%2e%2e"),
    *("generations/%2E", "generations/a%2Fb", "generations/", "%67enerations/unknown", "ping"),
]


@_WAYS
async def test_the_gateway_gives_the_same_answers_by_both_ways(
    settings: Settings, by_socket: bool
) -> None:
    plenty = {"dream_machine_rate": "1000/second", "agents_rate": "1000/second"}
    settings = settings.model_copy(update=plenty)
    async with both_ways(settings, *TOKENS, by_socket=by_socket) as both:
        await told(both, *BODIES, {"id": "..", "state": "queued"})
        dice = random.Random(7)
        for _ in range(300):
            method = dice.choice([*(["GET"] * 8), "HEAD", "OPTIONS"])
            base = dice.choice(["/dream-machine/v1", *GATEWAYS])
            path = dice.choice(GATEWAY_PATHS)
            query = dice.choice([*([""] * 8), "?", "?x=1"])
            sent = dice.choice([*([{}] * 30), *_sent(None)])
            token = dice.choice(["Bearer good"] * 20 + [None, "Bearer reads", "Bearer wrong"])
            headers = {**sent, **({"Authorization": token} if token else {})}
            short, ordinary = await both.answers(method, f"{base}/{path}{query}", headers=headers)
            asked = (method, base, path, query, headers)
            assert short.status_code == ordinary.status_code, asked
            assert _of_the_tracker(short) == _of_the_tracker(ordinary), asked
            assert short.content == ordinary.content, asked
        assert both.passed_on < 250, "many were answered at once"


def _of_the_tracker(answer: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers without those that differ from one answer of Luma to the next."""
    return [pair for pair in _without_date(answer) if pair[0] != b"x-request-id"]


async def test_without_a_key_the_gateway_answers_the_same_by_both_ways(keyless: Both) -> None:
    await told(keyless, BODIES[0])
    for base in GATEWAYS:
        short, ordinary = await keyless.answers("GET", f"{base}/generations/{BODIES[0]['id']}")
        assert (short.status_code, short.content) == (401, ordinary.content)
        assert _without_date(short) == _without_date(ordinary)


async def test_what_is_known_is_answered_at_once_and_304_too(keyless: Both) -> None:
    await told(keyless, BODIES[0])
    url = f"/v1/generations/{BODIES[0]['id']}"
    await keyless.warm(url)
    answer, alone = await keyless.at_once(url)
    assert (answer.status_code, alone) == (200, True)
    tag = {"If-None-Match": answer.headers["etag"]}
    again, alone = await keyless.at_once(url, headers=tag)
    assert (again.status_code, again.content, alone) == (304, b"", True)


@pytest.mark.parametrize("sent", ["Bearer good", "Bearer reads"])
async def test_a_visitor_with_a_good_token_is_known_again(settings: Settings, sent: str) -> None:
    async with both_ways(settings, *TOKENS) as both:
        await told(both, BODIES[0])
        url = f"/v1/generations/{BODIES[0]['id']}"
        await both.warm(url, headers={"Authorization": sent})
        for wrong in ({}, {"Authorization": "Bearer no"}, {"Authorization": sent + "x"}):
            answer, alone = await both.at_once(url, headers=wrong)
            assert (answer.status_code, alone) == (401, False)
        doubled = [("Authorization", sent), ("Authorization", "Bearer no")]
        assert not (await both.at_once(url, headers=doubled))[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "tunnel.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Origin": "https://evil.example"},
    ],
)
async def test_without_tokens_whoever_may_be_from_elsewhere_is_looked_at_closely(
    keyless: Both, headers: dict[str, str]
) -> None:
    await told(keyless, BODIES[0])
    await keyless.warm(f"/v1/generations/{BODIES[0]['id']}")
    _, alone = await keyless.at_once(f"/v1/generations/{BODIES[0]['id']}", headers=headers)
    assert not alone


async def test_a_callback_shows_in_the_next_answer(keyless: Both) -> None:
    body = {"id": "a", "state": "queued"}
    await told(keyless, body)
    for n in range(50):
        await keyless.warm("/v1/generations/a")
        await told(keyless, {**body, "state": f"new-{n:02}"})
        answer = await keyless.short.get("/v1/generations/a")
        assert (answer.json()["state"], answer.headers["age"]) == (f"new-{n:02}", "0")


@pytest.mark.thorough
async def test_what_has_gone_quiet_is_not_answered_at_once(settings: Settings, luma: Luma) -> None:
    made = luma.create()
    async with both_ways(settings.model_copy(update={"stale_after": 2})) as both:
        await told(both, luma.body(made))
        url = f"/v1/generations/{made}"
        await both.warm(url)
        while (answer := await both.short.get(url)).headers["cache-status"].endswith("hit"):
            pass
        assert answer.headers["cache-status"] == "luma-tracker; fwd=stale"


# --- Lists -------------------------------------------------------------------------------------


LISTS = [
    "",
    "?limit=2",
    "?limit=2&state=completed&state=failed",
    "?sort=-updated_at&limit=1&gone=true",
    "?q=lady&limit=200",
    "?q=%C3%A9%25_!&model=ray-2&operation=video",
    "?created_after=2024-01-01&created_before=2031-01-01T00:00:00%2B02:00",
    "?limit=1&limit=2",
    "?limit=0",
    "?limit=x",
    "?so=what",
    "?state=",
    "?q=",
    "?cursor=nonsense",
    "?created_after=soon",
    "?id=a&id=b",
    "?gone=perhaps",
    "?%00",
    "?q=%ff",
    "?limit=2&q=%ff",
    "?limit=2&sort",
    "?fields=id,assets.video,request.model&limit=3",
    "?fields=id,stat",
    "?fields=",
    "?format=json&fields=rev",
    "?format=csv",
    "?format=ndjson&fields=rev,id&limit=2",
    "?format=xml",
]


async def test_a_list_is_the_same_by_both_ways(keyless: Both) -> None:
    await told(keyless, *BODIES)
    accepted: list[tuple[dict[str, str], str]] = [({}, query) for query in LISTS]
    accepted += [({"Accept": each}, "?limit=3") for each in ("text/csv", "text/html", "*/*", "")]
    for headers, query in accepted:
        path = f"/v1/generations{query}"
        short, ordinary = await keyless.answers("GET", path, headers=headers)
        assert short.status_code == ordinary.status_code, query
        assert short.headers.raw == ordinary.headers.raw, query
        assert short.content == ordinary.content, query


async def test_the_next_page_is_named_the_same_by_both_ways_and_is_the_next(keyless: Both) -> None:
    await told(keyless, *BODIES)
    url, seen = "/v1/generations?limit=3", list[str]()
    while url:
        short, ordinary = await keyless.answers("GET", url)
        assert short.headers.raw == ordinary.headers.raw
        seen += [item["id"] for item in short.json()["items"]]
        url = short.links.get("next", {}).get("url", "")
    assert sorted(seen) == sorted({body["id"] for body in BODIES})


async def test_a_list_is_answered_in_front(keyless: Both) -> None:
    await told(keyless, BODIES[0])
    answer, alone = await keyless.at_once("/v1/generations?limit=2")
    assert (answer.status_code, alone) == (200, True)


async def test_a_list_shows_every_change_at_once(keyless: Both) -> None:
    for n in range(20):
        await told(keyless, {"id": f"g{n}", "state": "queued"})
        listed = (await keyless.short.get("/v1/generations")).json()
        assert len(listed["items"]) == n + 1


async def test_a_wrong_question_about_a_list_is_wrong_every_time(keyless: Both) -> None:
    for _ in range(3):
        answer, alone = await keyless.at_once("/v1/generations?so=what")
        assert (answer.status_code, alone) == (422, False)
