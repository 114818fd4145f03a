"""Faults that a test requests: what fails, for which requests, and how often."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault for the next `times` requests that match.

    A `delay` alone delays the regular answer. `drop` closes the connection without an answer.
    `status` or `body` replaces the answer, and the request then changes nothing.
    """

    status: int | None = None
    """HTTP status; None with a `body` means 200."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """None: Luma's error object, `{"detail": …}`."""
    content_type: str = "application/json"
    delay: float | None = None
    """Real seconds before the answer, whichever clock is used."""
    drop: bool = False
    times: int | None = 1
    """Number of requests; None: all, until the faults are cleared."""
    path: str = ""
    """Substring of the path; empty: any path."""
    method: str | None = None
    """None: any method."""

    @property
    def answers(self) -> bool:
        """Whether it replaces the regular answer."""
        return self.status is not None or self.body is not None

    def matches(self, method: str, path: str) -> bool:
        """Whether it applies to this request."""
        return self.method in (None, method) and self.path in path

    def answer(self) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return the status, headers and body that replace the regular ones."""
        status = self.status or HTTPStatus.OK
        body = json.dumps({"detail": _phrase(status)}).encode() if self.body is None else self.body
        headers = {
            "content-type": self.content_type,
            "content-length": str(len(body)),
            **{name.lower(): value for name, value in self.headers.items()},
        }
        return status, [(name.encode(), value.encode()) for name, value in headers.items()], body


class Faults:
    """The pending faults; if several match, the one added first applies."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Remove all faults."""
        self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for this request, if any, and count it."""
        for index, (fault, left) in enumerate(self._waiting):
            if fault.matches(method, path):
                self._use(index, fault, left)
                return fault
        return None

    def _use(self, index: int, fault: Fault, left: int | None) -> None:
        if left == 1:
            del self._waiting[index]
        elif left is not None:
            self._waiting[index] = (fault, left - 1)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
