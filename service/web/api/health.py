"""Whether we are alive, and whether we can be relied on."""

from http import HTTPStatus

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from service.web.parameters import ThePublicUrl, TheTracker
from service.web.problems import responses

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    alive: bool = Field(True, examples=[True])


class Ready(BaseModel):
    """The database answers, is migrated, and holds nothing that waits to be folded."""

    ready: bool = Field(True, examples=[True])
    callbacks: bool = Field(
        description="Whether Luma can call us; if not, TRACKER_PUBLIC_URL is not set and we ask it."
    )
    warnings: list[str] | None = Field(None, description="What people should look at, if anything.")


@router.get("/healthz", summary="Is the process alive?", operation_id="isAlive")
async def healthz() -> Alive:
    """Says nothing of the database; for restarting a process that hangs."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can the service be relied on?",
    operation_id="isReady",
    response_model_exclude_none=True,
    responses=responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def readyz(tracker: TheTracker, public_url: ThePublicUrl) -> Ready:
    """Asks the database, and writes to it; for deciding whether to send requests here."""
    await tracker.readiness.require()
    return Ready(callbacks=public_url is not None, warnings=tracker.warnings or None)


@router.get(
    "/metrics",
    summary="Counts and gauges for Prometheus",
    operation_id="getMetrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "luma_tracker_breaker_open 0.0"}}}},
)
async def metrics() -> Response:
    """What each is a sign of is told in docs/operations.md."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
