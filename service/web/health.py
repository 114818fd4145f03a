"""Whether we are alive, and whether we can be relied on."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.web.deps import TheTracker
from service.web.problems import responses

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    alive: bool = Field(True, examples=[True])


class Ready(BaseModel):
    """The database answers, and is migrated."""

    ready: bool = Field(True, examples=[True])


@router.get("/healthz", summary="Is the process alive?", operation_id="isAlive")
async def healthz() -> Alive:
    """Says nothing of the database; for restarting a process that hangs."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can the service be relied on?",
    operation_id="isReady",
    responses=responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def readyz(tracker: TheTracker) -> Ready:
    """Asks the database; for deciding whether to send requests here."""
    await tracker.require_ready()
    return Ready()
