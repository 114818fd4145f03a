"""Faults that a test requests: what fails, for which requests, and how often."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault for the next `times` requests that match.

        delay ──▶ the request is processed ──▶ answer_delay ──▶ the answer

    `status` or `body` replaces the answer, and `drop` closes the connection without one. The
    request is read completely, but then changes nothing, unless `processed` or `unread` says
    otherwise. A delay alone makes the regular answer late.

    Raises:
        ValueError: `processed` or `unread` contradicts the other fields.
    """

    status: int | None = None
    """HTTP status; None with a `body` means 200."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """None: Luma's error object, `{"detail": …}`."""
    content_type: str = "application/json"
    delay: float | None = None
    """Real seconds before the request is read and processed, whichever clock is used."""
    answer_delay: float | None = None
    """Real seconds between processing and the answer. Callbacks that result come before it."""
    drop: bool = False
    drop_after: int | None = None
    """Bytes of the answer's body after which the connection is closed."""
    processed: bool = False
    """Whether the request has its effects, callbacks included, though its answer is replaced."""
    unread: bool = False
    """Whether `drop`, `status` or `body` comes before the request's body is read."""
    skip: int = 0
    """Number of matching requests that it leaves alone first."""
    times: int | None = 1
    """Number of requests; None: all, until the faults are cleared."""
    path: str = ""
    """Substring of the path; empty: any path."""
    query: str = ""
    """Substring of the query, as it was sent; empty: any query."""
    method: str | None = None
    """None: any method."""

    def __post_init__(self) -> None:
        if (self.processed or self.unread) and not self.replaces:
            raise ValueError(
                "processed and unread need drop, status or body: the answer is regular"
            )
        if self.processed and self.unread:
            raise ValueError("a request cannot be both processed and unread: leave one out")

    @property
    def replaces(self) -> bool:
        """Whether the caller gets something else than the regular answer."""
        return self.drop or self.status is not None or self.body is not None

    def matches(self, method: str, path: str, query: str) -> bool:
        """Whether it applies to this request."""
        return self.method in (None, method) and self.path in path and self.query in query

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


@dataclass(slots=True)
class _Pending:
    """A fault, and how many requests it still skips and applies to (None: all)."""

    fault: Fault
    skip: int
    left: int | None


class Faults:
    """The pending faults; if several match, the one added first applies."""

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self._pending.append(_Pending(fault, fault.skip, fault.times))

    def clear(self) -> None:
        """Remove all faults."""
        self._pending.clear()

    def take(self, method: str, path: str, query: str) -> Fault | None:
        """Return the fault for this request, if any, and count it."""
        for pending in self._pending:
            if not pending.fault.matches(method, path, query):
                continue
            if pending.skip:
                pending.skip -= 1
                continue
            self._use(pending)
            return pending.fault
        return None

    def _use(self, pending: _Pending) -> None:
        if pending.left is not None:
            pending.left -= 1
        if pending.left == 0:
            self._pending.remove(pending)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
