"""The route of statistics."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from service.tracking.stats_schema import StatsOut
from service.web.parameters import StatsParameters, TheTracker
from service.web.problems import responses

router = APIRouter(prefix="/v1", tags=["stats"])


@router.get(
    "/stats",
    summary="Get statistics",
    operation_id="getStats",
    responses=responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get_stats(
    parameters: Annotated[StatsParameters, Query()], tracker: TheTracker
) -> StatsOut:
    """Counts generations by state, time, cost and failure. Costs no request to Luma."""
    return await tracker.stats.read(parameters.since, parameters.by)
