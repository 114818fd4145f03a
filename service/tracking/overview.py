"""What pages show beside a generation: the create that made it, and messages that were sent."""

from dataclasses import dataclass
from typing import Any

from service.domain.submission import Submission
from service.luma.bodies import shown
from service.storage import attempts, submissions
from service.storage.attempts import Attempt
from service.storage.engine import Database


@dataclass(frozen=True, slots=True)
class Message:
    """An attempt to send a message to a webhook."""

    attempt: Attempt
    body: Any
    """What was sent: parsed if it is JSON; None if it is no longer stored."""


class Overview:
    """Reads from the database what no other use case needs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_of(self, generation_id: str) -> Submission | None:
        """Return the create that made a generation; None if it did not pass through here."""
        return await self._database.read(submissions.of_generation, generation_id)

    async def attempts_of(self, generation_id: str, limit: int) -> list[Message]:
        """Return attempts to send changes of a generation to webhooks, oldest first."""
        found = await self._database.read(attempts.of_generation, generation_id, limit)
        return [Message(each.attempt, each.body and shown(each.body)) for each in found]
