"""Server-sent events, taken apart by the rules of the HTML standard."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stream:
    """What has come so far; `feed` it the bytes as they come."""

    events: list[dict[str, Any]] = field(default_factory=list)
    """The data of each `change`."""
    others: list[tuple[str, str]] = field(default_factory=list)
    """Name and data of all that is no change."""
    last_id: str = ""
    """What a browser would send as `Last-Event-ID`."""
    retry: int | None = None
    heartbeats: int = 0
    _rest: bytes = b""

    def feed(self, chunk: bytes) -> None:
        """Take whole blocks out of what has come; the rest waits for more."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        for block in blocks:
            self._take(block.decode())

    def _take(self, block: str) -> None:
        name, data = "message", list[str]()
        for field_, value in _fields(block):
            match field_:
                case "":
                    self.heartbeats += 1
                case "id":
                    self.last_id = value
                case "retry":
                    self.retry = int(value)
                case "event":
                    name = value
                case "data":
                    data.append(value)
        if data:
            self._dispatch(name, data)

    def _dispatch(self, name: str, data: list[str]) -> None:
        if name == "change":
            [line] = data
            self.events.append(json.loads(line))
            assert self.last_id == str(self.events[-1]["seq"])
        else:
            self.others.append((name, "\n".join(data)))

    @property
    def seqs(self) -> list[int]:
        """The numbers of the changes, as they came."""
        return [event["seq"] for event in self.events]


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        yield name, value.removeprefix(" ")
