"""Routes of the backfill: start it, and see how far it is."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from service.tracking.backfill.schema import BackfillOut
from service.web.parameters import Strict, TheTracker, Time
from service.web.problems import responses

router = APIRouter(prefix="/v1/backfill", tags=["backfill"])


class BackfillRequest(Strict):
    """What to backfill."""

    upstream: Literal["dream_machine", "agents"] | None = Field(
        None,
        description="`dream_machine` or `agents`; by default the first of them that has a key.",
    )
    since: Time | None = Field(
        None,
        description="How far back to go: a time, a date, or a time before now such as `-24h` or "
        "`-30d`. By default to the end of the list, or to where an earlier backfill has been.",
    )
    everything: bool = Field(
        False,
        strict=True,
        description="Read to the end of the list, even where everything is stored.",
    )


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Start a backfill",
    operation_id="startBackfill",
    responses=responses(
        HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def start_backfill(
    _parameters: Annotated[Strict, Query()],
    tracker: TheTracker,
    body: BackfillRequest | None = None,
) -> BackfillOut:
    """Reads Luma's list in the background, and stores the generations that are missing.

    One backfill runs at a time. If one is running, this returns its state and starts nothing.
    """
    wanted = body or BackfillRequest(upstream=None, since=None, everything=False)
    walk = await tracker.backfill.start(wanted.upstream, wanted.since, everything=wanted.everything)
    return BackfillOut.of(walk)


@router.get(
    "",
    summary="Get the state of the backfill",
    operation_id="getBackfill",
    responses=responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get_backfill(_parameters: Annotated[Strict, Query()], tracker: TheTracker) -> BackfillOut:
    """Returns the backfill that is running, or else the last one; before the first, nulls."""
    return BackfillOut.of(await tracker.backfill.newest())
