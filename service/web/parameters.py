"""Parameters and dependencies that routes share."""

import re
from typing import Annotated, cast

from fastapi import Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.domain.generation import ID_PATTERN, Outcome
from service.domain.times import FORMS
from service.storage.listing import MAX_LIMIT
from service.tracking.stats import By
from service.tracking.tracker import Tracker

LONGEST_WAIT = 60  # seconds
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", re.IGNORECASE)

Time = Annotated[
    str,
    Field(max_length=64),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "string", "pattern": "^-[0-9]{1,4}[smhdw]$"},
            ]
        }
    ),
]
"""A time, a date, or a time before now; what is no such text is found when it is used."""

GenerationId = Annotated[str, Path(pattern=f"^{ID_PATTERN}$")]
WaitSeconds = Annotated[float, Field(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)]


class Strict(BaseModel):
    """Base of query parameters: an unknown one is an error, as it would silently do nothing."""

    model_config = ConfigDict(extra="forbid")


class DeliveryParameters(Strict):
    """The query parameters of the inbox."""

    outcome: list[Outcome] = Field([], description="Repeatable.")
    generation_id: list[str] = Field([], description="Repeatable.")
    limit: int = Field(50, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(
        None, max_length=64, description="`next_cursor` of the previous page."
    )


class AttemptParameters(Strict):
    """The query parameters of a list of attempts."""

    limit: int = Field(50, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(
        None, max_length=64, description="`next_cursor` of the previous page."
    )


class StatsParameters(Strict):
    """The query parameters of statistics."""

    since: Time | None = Field(
        None,
        description=f"Only generations created on this day or later: {FORMS}.",
        examples=["-30d"],
    )
    by: By = Field("day", description="What the series is by.")


async def _tracker(request: Request) -> Tracker:
    return cast("Tracker", request.app.state.tracker)


async def _public_url(request: Request) -> str | None:
    return cast("str | None", request.app.state.public_url)


TheTracker = Annotated[Tracker, Depends(_tracker)]
ThePublicUrl = Annotated[str | None, Depends(_public_url)]


def preferred_wait(prefer: str | None) -> int | None:
    """Return the seconds of `Prefer: wait=`, at most `LONGEST_WAIT`; None if it is missing."""
    found = _PREFER_WAIT.search(prefer or "")
    return min(int(found[1]), LONGEST_WAIT) if found else None
