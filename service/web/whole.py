"""Answers that are sent in one piece.

An ASGI server looks at every header of every answer. Ours may be handed a whole one of which we
know that it is well-formed, and then only has to write it: half of what a raw application
costs. It says so in the scope, as the specification has it for extensions; from any other
server the same answer goes out in the usual two messages.
"""

from starlette.types import Message, Scope, Send

Headers = list[tuple[bytes, bytes]]

WHOLE = "luma_tracker.whole"
"""The message's type, and the name of the extension."""


async def send_whole(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send an answer whose headers, `content-length` among them, were written by us."""
    if WHOLE in scope.get("extensions", ()):
        await send({"type": WHOLE, "status": status, "headers": headers, "body": body})
        return
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
