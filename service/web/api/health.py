"""Health and metrics: `/healthz`, `/readyz`, `/metrics`."""

from http import HTTPStatus

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from service.web.parameters import ThePublicUrl, TheTracker
from service.web.problems import responses

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process is alive."""

    alive: bool = Field(True, examples=[True])


class Ready(BaseModel):
    """The database answers, is migrated, and has no delivery that waits to be folded."""

    ready: bool = Field(True, examples=[True])
    callbacks: bool = Field(
        description="Whether Luma can send callbacks. False if TRACKER_PUBLIC_URL is not set: then "
        "Luma is asked instead."
    )
    warnings: list[str] | None = Field(None, description="What needs attention, if anything.")


@router.get("/healthz", summary="Is the process alive?", operation_id="isAlive")
async def healthz() -> Alive:
    """Checks only the process, not the database. Restart the process if this fails."""
    return Alive()


@router.get(
    "/readyz",
    summary="Is the service ready for requests?",
    operation_id="isReady",
    response_model_exclude_none=True,
    responses=responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def readyz(tracker: TheTracker, public_url: ThePublicUrl) -> Ready:
    """Reads from the database and writes to it. Send no requests here while this fails."""
    await tracker.readiness.require()
    return Ready(callbacks=public_url is not None, warnings=tracker.warnings or None)


@router.get(
    "/metrics",
    summary="Get metrics for Prometheus",
    operation_id="getMetrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "luma_tracker_breaker_open 0.0"}}}},
)
async def metrics() -> Response:
    """docs/operations.md explains each metric."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
