"""The least that an ASGI application can do: the same bytes, whatever is asked.

    python -m benchmarks.peers.raw ANSWER

ANSWER is a file with the headers and the body of an answer of ours, see `write`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.peers.serving import serve

_BY_SERVER = ("date",)
"""Headers that the server adds to every answer, ours and this one's."""


def write(path: Path, headers: Sequence[tuple[str, str]], body: bytes) -> None:
    """Note what is to be answered."""
    sent = [header for header in headers if header[0].lower() not in _BY_SERVER]
    path.write_text(json.dumps({"headers": sent, "body": body.decode()}))


def make(path: Path) -> ASGIApp:
    """An application that answers what `write` has noted."""
    noted = json.loads(path.read_text())
    headers = [(name.encode(), value.encode()) for name, value in noted["headers"]]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    rest = {"type": "http.response.body", "body": noted["body"].encode()}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start)
            await send(rest)

    return app


if __name__ == "__main__":
    serve(make(Path(sys.argv[1])))
