"""The response model for a walk through an upstream's list."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.storage.backfills import Walk
from service.storage.shape import Instant

_EXAMPLE: dict[str, Any] = {
    "upstream": "dream_machine",
    "state": "running",
    "since": "2026-05-01T00:00:00.000000Z",
    "everything": False,
    "pages": 12,
    "seen": 1190,
    "new": 1174,
    "reached": "2026-05-12T08:30:00.000000Z",
    "error": None,
    "failure": None,
    "started_at": "2026-05-30T12:34:56.000000Z",
    "finished_at": None,
}


class BackfillOut(BaseModel):
    """A walk through the list of an upstream."""

    model_config = ConfigDict(
        from_attributes=True, title="Backfill", json_schema_extra={"examples": [_EXAMPLE]}
    )

    upstream: str | None = Field(
        None, description="The Luma API whose list is read; null if there was no backfill yet."
    )
    state: str | None = Field(
        None, description="`running`, `done` or `failed`; null if there was no backfill yet."
    )
    since: Instant | None = Field(
        None, description="Only generations created since then are read; null: all."
    )
    everything: bool = Field(
        False,
        description="Whether it reads to the end of the list, even where everything is stored.",
    )
    pages: int = Field(0, description="How many pages were requested.")
    seen: int = Field(0, description="How many generations were read.")
    new: int = Field(0, description="How many of them were not stored before.")
    reached: Instant | None = Field(
        None, description="When the oldest generation that was read so far was created."
    )
    error: str | None = Field(None, description="Why it failed, and what to do; else null.")
    failure: str | None = Field(
        None,
        description="The kind of failure: `unavailable` (Luma could not be reached), `refused` or "
        "`unforeseen`; else null.",
    )
    started_at: Instant | None = Field(None, description="When it was started.")
    finished_at: Instant | None = Field(
        None, description="When it ended; null while it is running."
    )

    @classmethod
    def of(cls, walk: Walk | None) -> "BackfillOut":
        """Create the response from a walk; None if there was none yet."""
        return cls() if walk is None else cls(**walk._asdict(), reached=walk.place.oldest)
