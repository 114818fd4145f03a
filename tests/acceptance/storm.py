"""Many callbacks at once, over connections of our own, and what was answered to each."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Storm:
    """Sends bodies to a callback URL over so many connections; notes each answer."""

    url: str
    connections: int = 32
    answered: dict[bytes, int] = field(default_factory=dict)
    """The status of the first answer to each body; a body that got none is missing."""

    async def blow(self, bodies: Sequence[bytes]) -> None:
        """Send them all; a connection that breaks is opened anew, its body counts as unanswered."""
        waiting = list(reversed(bodies))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.connections):
                group.create_task(self._send(waiting))

    async def _send(self, waiting: list[bytes]) -> None:
        connection = None
        while waiting:
            body = waiting.pop()
            try:
                connection = connection or await self._connect()
                self.answered[body] = await self._post(connection, body)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                if connection:
                    connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def _post(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], body: bytes
    ) -> int:
        reader, writer = connection
        parts = urlsplit(self.url)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        head_lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        lengths = [line for line in head_lines if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].partition(b":")[2]))
        return int(head_lines[0].split()[1])


def life_of(generation_id: str, *states: str) -> list[bytes]:
    """The callbacks of one generation, in order."""
    return [
        json.dumps(
            {
                "id": generation_id,
                "generation_type": "video",
                "state": state,
                "failure_reason": None,
                "created_at": "2026-05-30T12:34:56.236000Z",
                "assets": {"video": f"https://x/{generation_id}"} if state == "completed" else None,
                "model": "ray-2",
                "request": {"generation_type": "video", "prompt": "a storm"},
            }
        ).encode()
        for state in states
    ]
