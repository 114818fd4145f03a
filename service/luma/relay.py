"""Requests that are passed on to Luma as they are, and Luma's answers to them.

Both bodies are streams, so that files of any size pass in little memory.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple

from service.domain.retry_after import seconds_in
from service.errors import UpstreamUnavailable
from service.luma.content_coding import decoded

_RETRY_AFTER = 5.0
"""Seconds, if Luma sends no usable `Retry-After`."""
HeaderList = list[tuple[bytes, bytes]]
PLAIN_ANSWER = (b"accept-encoding", b"identity")
"""The request header for answers that are read here. Without any, Luma might compress them."""
OF_ENCODED = frozenset({b"content-length", b"content-encoding"})
"""Response headers that do not describe a body that `Incoming.read` returned."""

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_OURS_ALONE = frozenset(
    {
        *(b"authorization", b"cookie", b"host", b"expect", b"origin", b"referer"),
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"),
        *(b"x-forwarded-port", b"x-real-ip", b"x-callback-url"),
    }
)
"""Request headers that are between the caller and us: credentials, and who the caller is."""
_NOT_PASSED_DOWN = frozenset({b"set-cookie", b"date", b"server", b"strict-transport-security"})
"""Response headers that are between Luma and us. Our own server sends its own date and name."""


@dataclass(slots=True)
class Progress:
    """How far a request has got."""

    sent: bool = False
    """Whether any byte of it has left."""
    sent_at: float = 0.0
    """When the first one did, by `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to pass on."""

    method: str
    target: str
    """Path below the base URL and query, percent-encoded: `files/3?x=1`."""
    headers: HeaderList
    body: AsyncIterator[bytes] | bytes = b""
    timeout: float | None = None
    """Seconds that Luma may take for each step; None: the usual time."""
    total: float | None = None
    """Seconds until the head of the answer must be there; None: no limit, for files."""
    progress: Progress = field(default_factory=Progress)


class Incoming(NamedTuple):
    """Luma's answer to it."""

    status: int
    headers: HeaderList
    body: AsyncIterator[bytes]
    """In the form in which Luma sent it, with its content encoding."""
    close: Callable[[], Awaitable[None]]

    async def read(self, limit: int) -> bytes:
        """Read the whole body, decompressed if Luma compressed it unasked, and close.

        Raises:
            ValueError: it has more than `limit` bytes, or an unknown encoding.
        """
        body = bytearray()
        try:
            async for chunk in self.body:
                body += chunk
                if len(body) > limit:
                    raise ValueError(f"the answer has more than {limit} bytes")
        finally:
            await self.close()
        coding = dict(self.headers).get(b"content-encoding", b"").decode("latin-1")
        try:
            return decoded(bytes(body), coding, limit)
        except ValueError as error:
            raise ValueError(f"the answer comes {error}") from error


def unavailable(
    upstream: str, method: str, status: int, headers: HeaderList, detail: str = "."
) -> UpstreamUnavailable | None:
    """Return the error that tells the circuit breaker that Luma is down or limits the rate.

    Luma limits the number of open generations too. Such a 429 to a create comes without
    `X-RateLimit-…` headers, and is no reason to pause reads.

    Args:
        upstream: the name of the upstream.
        method: the method of the request.
        status: the status of the answer.
        headers: its headers, in lower case.
        detail: the end of the message, what Luma said included.

    Returns:
        None if the answer is neither a 5xx nor a 429 that concerns all requests.
    """
    limited = status == HTTPStatus.TOO_MANY_REQUESTS and (
        method == "GET" or any(name.startswith(b"x-ratelimit-") for name, _ in headers)
    )
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and not limited:
        return None
    values = {name: value.decode("latin-1") for name, value in headers}
    seconds = seconds_in(values.get(b"retry-after", ""), datetime.now(UTC))
    return UpstreamUnavailable(
        upstream,
        f"{upstream} answered {status}{detail}",
        retry_after=_RETRY_AFTER if seconds is None else seconds,
        from_upstream=limited or seconds is not None,
        limit=_limit(values.get(b"x-ratelimit-limit", "")) if limited else None,
    )


def _limit(value: str) -> int | None:
    """Return the requests per minute that Luma allows; None if it does not say."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


def passed_up(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Return the request headers that Luma is to see."""
    return _without(headers, _OURS_ALONE)


def passed_down(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Return the response headers that the caller is to see."""
    return _without(headers, _NOT_PASSED_DOWN)


def _without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> HeaderList:
    """Leave out these headers, and those that are for one connection only (RFC 9110, 7.6.1)."""
    pairs = [(name.lower(), value.strip()) for name, value in headers]
    listed = b",".join(value for name, value in pairs if name == b"connection")
    excluded = names | _HOP_BY_HOP | {each.strip().lower() for each in listed.split(b",")}
    return [(name, value) for name, value in pairs if name not in excluded]
