"""Server-sent events, as the service sends its changes."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

CHANGE = "change"


class EventStream:
    """Reads the lines of one stream; `position` is where the next one resumes.

    Args:
        position: of the last change that was read before.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self._fields: dict[str, str] = {}

    async def changes(
        self, lines: AsyncIterator[str]
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield each change alone, and an empty list for each heartbeat."""
        async for line in lines:
            if line.startswith(":"):
                yield []
            elif line:
                name, _, value = line.partition(":")
                self._fields[name] = value.removeprefix(" ")
            elif change := self._ended():
                yield [change]

    def _ended(self) -> dict[str, Any] | None:
        """End an event at its empty line, and return the change that it reports."""
        fields, self._fields = self._fields, {}
        if fields.get("id", "").isdigit():
            self.position = int(fields["id"])
        if fields.get("event") != CHANGE:
            return None
        change: dict[str, Any] = json.loads(fields["data"])
        return change
