"""What a backend can do, and what goes in and out of it: the JSON of the REST API."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

Json = dict[str, Any]
By = Literal["day", "model", "upstream", "operation"]
"""What the series of statistics is by."""
Filters = Mapping[str, str | int | Sequence[str] | None]
"""Query parameters of a list; what is None or empty is left out."""


class Reply(NamedTuple):
    """A JSON object, as the REST API answers it."""

    body: bytes
    age: float | None = None
    """For a generation: seconds since Luma last reported anything about it."""

    @property
    def document(self) -> Json:
        """The parsed body."""
        parsed: Json = json.loads(self.body)
        return parsed

    @property
    def items(self) -> list[Json]:
        """The items of a page."""
        found: list[Json] = self.document["items"]
        return found


class Order(NamedTuple):
    """A create, in the form of Luma's API."""

    upstream: str
    path: str
    """Below the base URL: `generations/video`."""
    body: bytes
    key: str
    """The idempotency key: whoever repeats the order with it buys nothing again."""


class Created(NamedTuple):
    """What became of an order."""

    status: int
    """HTTP status of the answer."""
    body: bytes
    submission_id: str
    is_repeated: bool = False
    """Whether the key was used before, so that nothing was bought now."""


class Backend(Protocol):
    """What commands work on. Every method raises a `TrackerError`; its message says what to do."""

    @property
    def name(self) -> str:
        """The database or the URL, for display."""

    async def generation(
        self, generation_id: str, *, fresh: bool = False, wait: float | None = None
    ) -> Reply:
        """Look a generation up; with `wait`, for up to so many seconds until it is terminal."""

    async def generations(self, filters: Filters) -> Reply:
        """Return a page of stored generations."""

    async def events(self, after: int, limit: int) -> Reply:
        """Return a page of changes after a position."""

    async def events_of(self, generation_id: str, after: int, limit: int) -> Reply:
        """Return a page of the changes of one generation."""

    async def newest_event(self) -> int:
        """Return the position of the newest change; 0 if there is none."""

    def follow(self, after: int) -> AsyncGenerator[list[Json], None]:
        """Yield the changes after a position as they happen, without end; now and then none.

        Close it when it is no longer read.
        """

    async def deliveries(self, filters: Filters) -> Reply:
        """Return a page of the inbox, newest first."""

    async def delivery(self, delivery_id: str) -> Reply:
        """Return a delivery with its body."""

    async def replay(self, delivery_id: str) -> Reply:
        """Fold a delivery again."""

    async def create(self, order: Order) -> Created:
        """Create a generation. If the answer is lost, `created_by` finds out what was created."""

    async def created_by(self, submission_id: str) -> str | None:
        """Return the id of the generation that a create made; None: not known (yet)."""

    async def backfill(self, upstream: str | None, since: str | None, *, everything: bool) -> Reply:
        """Read an upstream's list to its end, with progress on a terminal."""

    async def stats(self, since: str | None, by: By) -> Reply:
        """Return statistics."""

    async def webhooks(self) -> Reply:
        """Return the endpoints."""

    async def add_webhook(self, wanted: Json) -> Reply:
        """Add an endpoint."""

    async def remove_webhook(self, webhook_id: str) -> None:
        """Remove an endpoint."""

    async def test_webhook(self, webhook_id: str) -> Reply:
        """Send a test message, and return the attempt."""

    async def attempts(self, webhook_id: str, filters: Filters) -> Reply:
        """Return a page of attempts, newest first."""

    async def replay_attempt(self, webhook_id: str, attempt_id: str) -> Reply:
        """Send the message of an attempt again, and return the new attempt."""


def is_over(generation: Json) -> bool:
    """Whether no change is expected: it is terminal, or gone at Luma."""
    return bool(generation["terminal"] or generation["gone_at"])
