"""Access control: tokens, hosts, origins, and wrong tokens."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from service.app import create_app
from service.config import Settings
from service.web.guards.access import AccessGuard
from service.web.guards.authentication import Authenticator

pytestmark = pytest.mark.either_database

LOCAL = "http://127.0.0.1:8000"
ALL = "all-powerful"
READS = "only-reads"
GUESSES = 20


async def _everything_is_fine(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("passed")(scope, receive, send)


def _open(*origins: str, callbacks_only: bool = False) -> AccessGuard:
    authenticator = Authenticator([], callbacks_only=callbacks_only)
    return AccessGuard(_everything_is_fine, authenticator=authenticator, origins=origins)


def _guarded(*origins: str) -> AccessGuard:
    return AccessGuard(
        _everything_is_fine, authenticator=Authenticator([ALL, f"ro:{READS}"]), origins=origins
    )


async def _ask(
    access: AccessGuard,
    path: str = "/v1/generations",
    method: str = "GET",
    *,
    token: str | None = None,
    address: str = "192.0.2.1",
    **headers: str,
) -> httpx.Response:
    """Send a request; write `_` for `-` in the names of headers."""
    sent = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    if token is not None:
        sent.append((b"authorization", f"Bearer {token}".encode("latin-1")))
    transport = httpx.ASGITransport(access, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        return await client.request(method, path, headers=sent)


async def _status(access: AccessGuard, *where: str, **given: str) -> int:
    return (await _ask(access, *where, **given)).status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "127.0.0.2:80", "localhost", "LOCALHOST:1", "[::1]"]
)
async def test_without_tokens_a_local_name_is_let_in(host: str) -> None:
    assert await _status(_open(), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("127.0.0.1@evil.example", "127.0.0.1:80@evil.example", "192.0.2.7", "0.0.0.0", "[::]"),
        *("localhost.", "a.localhost", "127.1", "2130706433", "0177.0.0.1", "127.0.0.1."),
        *("[::ffff:127.0.0.1]", "[::1%251]", "[::1%1]", "[::]:80", "128.0.0.1", "0:80"),
        *("", "[", "]", "[::1", "evil.example/127.0.0.1", "evil.example#127.0.0.1", "\xff"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/generations", "/mcp", "/metrics", "/docs", "/openapi.json"])
async def test_without_tokens_another_name_is_misdirected(host: str, path: str) -> None:
    assert await _status(_open(), path, host=host) == 421


@pytest.mark.parametrize(
    "name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"]
)
async def test_without_tokens_what_a_proxy_passed_on_is_misdirected(name: str) -> None:
    assert await _status(_open(), **{name: "127.0.0.1"}) == 421


@pytest.mark.parametrize(
    "path", ["/v1/generations", "/mcp", "/metrics", "/docs", "/", "/healthz/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
async def test_without_tokens_what_is_public_looks_nothing_up_for_anybody(
    method: str, path: str
) -> None:
    """A proxy on this machine may send exactly what a program on this machine sends."""
    answer = await _ask(_open(callbacks_only=True), path, method, host="127.0.0.1:8000")
    assert answer.status_code == 421
    if method != "HEAD":
        assert "TRACKER_API_TOKENS" in answer.json()["hint"]


@pytest.mark.parametrize("path", ["/callbacks/token", "/healthz", "/readyz"])
async def test_without_tokens_what_is_public_takes_callbacks_and_says_how_it_is(path: str) -> None:
    assert await _status(_open(callbacks_only=True), path, host="tracker.example") == 200


@pytest.mark.parametrize("path", ["/callbacks/token", "/healthz", "/readyz"])
async def test_callbacks_and_health_may_come_from_anywhere(path: str) -> None:
    given = {"host": "tunnel.example", "x-forwarded-for": "192.0.2.9"}
    assert await _status(_open(), path, **given) == 200
    assert await _status(_guarded(), path, **given) == 200


@pytest.mark.parametrize("path", ["/callbacks", "/callbackss/x", "/Callbacks/x", "//callbacks/x"])
async def test_what_only_looks_like_a_callback_is_not_let_through(path: str) -> None:
    assert await _status(_open(), path, "POST", host="tunnel.example") == 421
    assert await _status(_guarded(), path, "POST") == 401


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:9",
        "http://localhost:8000",
        "x",
        "http://[",
    ],
)
async def test_pages_of_other_origins_may_not_write_nor_speak_mcp(origin: str) -> None:
    for access, token in ((_open(), None), (_guarded(), ALL)):
        for method, path in (
            ("POST", "/v1/deliveries/x/replay"),
            ("POST", "/mcp"),
            ("GET", "/mcp"),
        ):
            answer = await _ask(access, path, method, token=token, origin=origin)
            assert answer.status_code == 403, (origin, method, path)
        assert (await _ask(access, token=token, origin=origin)).status_code == 200  # a read


async def test_callbacks_come_with_any_origin() -> None:
    assert await _status(_guarded(), "/callbacks/x", "POST", origin="https://evil.example") == 200


async def test_our_own_and_the_named_origins_may_write() -> None:
    named = "https://dash.example"
    assert await _status(_open(), "/mcp", "POST", origin=LOCAL) == 200
    assert await _status(_open(named), "/mcp", "POST", origin=named) == 200
    assert await _status(_open(named), "/mcp", "POST", origin=f"{named}.evil.example") == 403


async def test_with_tokens_one_is_wanted_and_said_so() -> None:
    answer = await _ask(_guarded())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "TRACKER_API_TOKENS" in answer.json()["hint"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_good_token_is_let_in_from_any_name(scheme: str) -> None:
    assert await _status(_guarded(), authorization=f"{scheme} {ALL}", host="x.example") == 200


@pytest.mark.parametrize(
    "sent",
    [
        *("", ALL, "Bearer", "Bearer ", f"Basic {ALL}", f"Bearer{ALL}", f"Bearer {ALL}x"),
        *(f"Bearer {ALL[:-1]}", f"Bearer {ALL.upper()}", f"Bearer ro:{READS}", f"Bearer {ALL},"),
        *(f"Bearer {ALL} {READS}", "Bearer \xff", f"Bearer {'x' * 10_000}", "Bearer ro:"),
    ],
)
async def test_anything_else_is_refused(sent: str) -> None:
    assert await _status(_guarded(), authorization=sent) == 401


@pytest.mark.parametrize("setting", ["ro:", "ro: "])
async def test_a_forgotten_read_only_token_lets_nobody_in(setting: str) -> None:
    """`ro:$READ_TOKEN` with that variable unset must not open the service to an empty token."""
    access = AccessGuard(
        _everything_is_fine, authenticator=Authenticator([setting, ALL]), origins=[]
    )
    assert await _status(access, authorization="Bearer ") == 401
    assert await _status(access, authorization="Bearer") == 401


async def test_a_read_only_token_reads_and_speaks_mcp_but_does_not_write() -> None:
    access = _guarded()
    for method, path in (("GET", "/v1/generations"), ("HEAD", "/metrics"), ("POST", "/mcp")):
        assert (await _ask(access, path, method, token=READS)).status_code == 200
    for method in ("POST", "PUT", "PATCH", "DELETE", "QUERY", "get"):
        answer = await _ask(access, "/v1/deliveries/x/replay", method, token=READS)
        assert answer.status_code == (200 if method == "get" else 403), method
        assert (await _ask(access, "/v1/x", method, token=ALL)).status_code == 200


async def _guess(
    access: AccessGuard, times: int = GUESSES, address: str = "192.0.2.1"
) -> list[int]:
    return [await _status(access, token=f"guess-{n}", address=address) for n in range(times)]


async def test_who_guesses_too_often_is_told_when_to_come_again() -> None:
    access = _guarded()
    assert await _guess(access) == [401] * GUESSES
    answer = await _ask(access, token="one-more")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_good_token_passes_however_many_wrong_ones_came_from_its_address() -> None:
    access = _guarded()
    await _guess(access, GUESSES * 2)
    for token in (ALL, READS):
        assert await _status(access, token=token) == 200
    assert await _status(access, token="wrong") == 429
    assert await _status(access, "/healthz") == 200
    assert await _status(access, "/callbacks/x", "POST") == 200


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "Basic Z29vZDp0b2tlbg=="])
async def test_a_missing_token_is_no_wrong_one(sent: str | None) -> None:
    access = _guarded()
    given = {} if sent is None else {"authorization": sent}
    for _ in range(GUESSES + 5):
        assert await _status(access, **given) == 401
    assert await _status(access, token="wrong") == 401  # the first that counts


async def test_wrong_tokens_concern_their_own_address_alone() -> None:
    access = _guarded()
    await _guess(access)
    assert await _status(access, token="wrong") == 429
    assert await _status(access, token="wrong", address="192.0.2.2") == 401


async def test_good_tokens_are_never_counted_as_guesses() -> None:
    access = _guarded()
    for _ in range(GUESSES * 3):
        assert (await _ask(access, token=ALL)).status_code == 200
    assert await _status(access, token="wrong") == 401


@pytest.fixture
async def broken(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application with a route that fails unexpectedly."""
    app = create_app(settings)

    @app.get("/broken")
    async def fail() -> Response:
        raise RuntimeError("a secret of ours")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        yield client


async def test_an_error_that_nobody_foresaw_is_a_problem_and_tells_nothing(
    broken: httpx.AsyncClient,
) -> None:
    answer = await broken.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "a secret of ours" not in answer.text


async def test_an_error_that_nobody_foresaw_carries_the_security_headers_too(
    broken: httpx.AsyncClient,
) -> None:
    answer = await broken.get("/broken")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"]
