"""Our own load: many connections kept open, one request at a time on each, in one process.

A conversation is some requests that go over one connection one after another. No conversation
is begun after the time is up, and every one that was begun is ended: what was sent has an answer.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from urllib.parse import urlsplit

import uvloop

from benchmarks.asking import Request

_PATIENCE = 60.0  # seconds for the last answers
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BODILESS = 304
NO_ANSWER = 0
"""In the place of a status."""

Conversation = tuple[str, Sequence[bytes]]
"""The name under which good answers are counted, and what is sent."""


@dataclass(frozen=True, slots=True)
class Order(ABC):
    """What is to be sent, and where."""

    url: str
    connections: int
    seconds: float

    @property
    def netloc(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    @abstractmethod
    def conversations(self) -> Iterator[Conversation]:
        """What is said, in order; the connections share it."""


@dataclass(frozen=True, slots=True)
class Same(Order):
    """One request again and again."""

    request: Request

    def conversations(self) -> Iterator[Conversation]:
        """Without an end."""
        sent = ("", (self.request.encoded(self.netloc),))
        while True:
            yield sent


@dataclass(frozen=True, slots=True)
class Each(Order):
    """Many paths, each once, as far as the time reaches."""

    paths: Sequence[str]
    headers: dict[str, str]

    def conversations(self) -> Iterator[Conversation]:
        """One for each path."""
        for path in self.paths:
            yield path, (Request(path, headers=self.headers).encoded(self.netloc),)


@dataclass(slots=True)
class Outcome:
    """What was answered."""

    seconds: float = 0.0
    in_time: int = 0
    """Answers before the time was up, for the rate; those after it are fewer and fewer at once."""
    statuses: Counter[int] = field(default_factory=Counter)
    times: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds from each request to its answer."""
    taken: Counter[str] = field(default_factory=Counter)
    """How many answers of 200 each conversation got."""

    @property
    def answers(self) -> int:
        """All of them."""
        return len(self.times)

    @property
    def errors(self) -> int:
        """All that was not answered by 200."""
        return sum(self.statuses.values()) - self.statuses[200]

    def add(self, other: "Outcome") -> None:
        """Put another's with this one's."""
        self.seconds += other.seconds
        self.in_time += other.in_time
        self.statuses.update(other.statuses)
        self.times.extend(other.times)
        self.taken.update(other.taken)


def blow(order: Order) -> Outcome:
    """Carry it out, to the last answer."""
    return uvloop.run(_blow(order))


async def _blow(order: Order) -> Outcome:
    loop, outcome = asyncio.get_running_loop(), Outcome()
    parts = urlsplit(order.url)
    address = parts.hostname or "", parts.port or 80
    coming = order.conversations()
    connections = []
    for _ in range(order.connections):
        make = partial(_Connection, coming, outcome)
        _, connection = await loop.create_connection(make, *address)
        connections.append(connection)
    begun = perf_counter()
    for connection in connections:
        connection.begin(begun + order.seconds)
    await asyncio.wait([c.ended for c in connections], timeout=order.seconds + _PATIENCE)
    outcome.seconds = min(perf_counter() - begun, order.seconds)
    for connection in connections:
        connection.leave()
    return outcome


class _Connection(asyncio.Protocol):
    """One of them."""

    def __init__(self, coming: Iterator[Conversation], outcome: Outcome) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._coming, self._outcome = coming, outcome
        self._deadline = self._sent_at = 0.0
        self._name, self._left = "", list[bytes]()
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def begin(self, deadline: float) -> None:
        """Send until then."""
        self._deadline = deadline
        self._next()

    def leave(self) -> None:
        """Hang up; what is still unanswered has failed."""
        if not self.ended.done():
            self._outcome.statuses[NO_ANSWER] += 1
            self.ended.set_result(None)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Some of an answer, or the whole."""
        self._came += data
        head = self._came.find(b"\r\n\r\n")
        if head < 0:
            return
        status, length = int(self._came[9:12]), _LENGTH.search(self._came, 0, head)
        end = head + 4 + (int(length[1]) if length and status != _BODILESS else 0)
        if len(self._came) >= end:
            self._came = self._came[end:]
            self._answered(status)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.leave()

    def _answered(self, status: int) -> None:
        now = perf_counter()
        self._outcome.times.append(now - self._sent_at)
        self._outcome.statuses[status] += 1
        self._outcome.in_time += now <= self._deadline
        if self._name and status == 200:
            self._outcome.taken[self._name] += 1
        self._next()

    def _next(self) -> None:
        now = perf_counter()
        if not self._left:
            following = next(self._coming, None) if now < self._deadline else None
            if following is None:
                self.ended.set_result(None)
                return
            self._name, self._left = following[0], [*reversed(following[1])]
        self._sent_at = now
        self._transport.write(self._left.pop())
