"""Writes of a session carry its CSRF token, in a header or in a field of the form."""

import hmac
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

FIELD = "csrf_token"
HEADER = "x-csrf-token"
_FORM = "application/x-www-form-urlencoded"
_MOST_BYTES = 65_536  # of a form


class Checked(NamedTuple):
    """Whether the token is there, and how the application receives the body."""

    valid: bool
    receive: Receive


async def check(scope: Scope, receive: Receive, expected: str) -> Checked:
    """Look for the token in the header, then in the form, which is read for that."""
    headers = Headers(scope=scope)
    if (sent := headers.get(HEADER)) is not None:
        return Checked(_equal(sent, expected), receive)
    if not headers.get("content-type", "").startswith(_FORM):
        return Checked(valid=False, receive=receive)
    body = await _body(receive)
    fields = parse_qs((body or b"").decode("latin-1"))
    valid = body is not None and _equal(fields.get(FIELD, [""])[0], expected)
    return Checked(valid, _again(body or b"", receive))


async def _body(receive: Receive) -> bytes | None:
    """Read the body; None if it is too large or the client has disconnected."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if message["type"] != "http.request" or len(body) > _MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def _equal(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())
