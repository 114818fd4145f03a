"""Answers that are sent in one piece.

An ASGI server looks at every header of every answer. Ours may be handed a whole one of which we
know that it is well-formed, and then only has to write it: half of what a raw application
costs. It says so in the scope, as the specification has it for extensions; from any other
server the same answer goes out in the usual two messages.
"""

from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Message, Scope, Send

from service.web.security_headers import SECURE

Headers = list[tuple[bytes, bytes]]

PREPARED = "luma_tracker.whole"
"""The message's type, and the name of the extension."""


class PreparedResponse(NamedTuple):
    """An answer whose headers, `content-length` among them, were written by us."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "PreparedResponse":
        """The same as the guards would have it."""
        return cls(response.status_code, [*response.raw_headers, *SECURE], bytes(response.body))


async def send_prepared(scope: Scope, send: Send, whole: PreparedResponse) -> None:
    """Send an answer in one piece, if the server has learnt that."""
    if PREPARED in scope.get("extensions", ()):
        await send({"type": PREPARED, **whole._asdict()})
        return
    status, headers, body = whole
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
