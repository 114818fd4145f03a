"""Access by every method and on every path; test_authentication has the rest."""

import itertools
from collections.abc import Iterable

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.web.guards.access import AccessGuard
from service.web.guards.authentication import Authenticator


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request that the guard admits."""
    await PlainTextResponse("let through")(scope, receive, send)


def access(*, tokens: Iterable[str] = (), origins: Iterable[str] = ()) -> httpx.AsyncClient:
    """A client in front of the guard."""
    guarded = AccessGuard(app, authenticator=Authenticator(tokens), origins=origins)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(guarded), base_url="http://127.0.0.1:8000"
    )


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
PATHS = ["/", "/v1/generations", "/mcp", "/docs", "/callbacks", "/healthz/x", "//callbacks/x"]
TOKENS = ["token-one", "token-two"]


async def test_without_tokens_this_machine_may_ask_anything() -> None:
    async with access() as http:
        for method, path in itertools.product(METHODS, PATHS):
            assert (await http.request(method, path)).status_code == 200


async def test_with_tokens_everything_wants_one() -> None:
    async with access(tokens=TOKENS) as http:
        for method, path in itertools.product(METHODS, PATHS):
            answer = await http.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    ["Bearer token-one", "Bearer token-two", "bearer token-one", "BEARER  token-one "],
)
async def test_any_of_the_tokens_will_do(authorization: str) -> None:
    async with access(tokens=TOKENS) as http:
        answer = await http.get("/", headers={"Authorization": authorization})
        assert answer.status_code == 200
        elsewhere = {"Authorization": authorization, "Host": "any.example"}
        assert (await http.get("/", headers=elsewhere)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer token-three",
        "Bearer token-one,token-two",
        "Bearer Token-One",
        "Basic token-one",
        "token-one",
        "Bearer\ttoken-one",
    ],
)
async def test_nothing_else_is_a_token(authorization: str) -> None:
    async with access(tokens=TOKENS) as http:
        answer = await http.get("/", headers={"Authorization": authorization})
        assert answer.status_code == 401
        assert "token-" not in answer.text


async def test_nothing_concerns_a_callback() -> None:
    odd = {"Host": "any.example", "Origin": "https://evil.example", "Authorization": "Bearer no"}
    for guard in (access(), access(tokens=TOKENS)):
        async with guard as http:
            assert (await http.post("/callbacks/t", headers=odd)).status_code == 200


FOREIGN = ["https://evil.example", "null", "http://127.0.0.1:8001", "http://[", "x", "http://"]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("tokens", [[], TOKENS])
async def test_pages_of_others_may_neither_write_nor_speak_mcp(
    origin: str, tokens: list[str]
) -> None:
    headers = {"Origin": origin, "Authorization": "Bearer token-one"}
    async with access(tokens=tokens, origins=["https://ours.example"]) as http:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await http.request(method, "/v1/x", headers=headers)).status_code == 403
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            assert (await http.request(method, "/mcp", headers=headers)).status_code == 403


@pytest.mark.parametrize("origin", ["https://ours.example", "http://127.0.0.1:8000", ""])
async def test_our_own_pages_and_those_that_are_named_may_write(origin: str) -> None:
    async with access(origins=["https://ours.example"]) as http:
        for path in ("/v1/x", "/mcp"):
            assert (await http.post(path, headers={"Origin": origin})).status_code == 200


async def test_a_browser_may_ask_beforehand_without_a_token() -> None:
    async with access(tokens=TOKENS) as http:
        assert (await http.options("/v1/x")).status_code == 200


async def test_what_is_no_request_is_passed_on() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> dict[str, str]:
        return {}

    async def send(_message: object) -> None:
        raise AssertionError("nothing is to be said")

    guarded = AccessGuard(inner, authenticator=Authenticator(TOKENS), origins=[])
    await guarded({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
