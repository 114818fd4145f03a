"""Routes of the inbox: list deliveries, show one, and replay it."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from service.tracking.schemas import DeliveriesOut, DeliveryWithBody, ReplayOut
from service.web.parameters import DeliveryParameters, Strict, TheTracker
from service.web.problems import responses

router = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])

_PROBLEMS = responses(
    HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
)


@router.get(
    "",
    summary="List the inbox",
    operation_id="listDeliveries",
    responses=responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_deliveries(
    parameters: Annotated[DeliveryParameters, Query()], tracker: TheTracker
) -> DeliveriesOut:
    """Lists every callback that had a valid token, newest first, without bodies."""
    found = await tracker.deliveries.page(
        outcomes=tuple(parameters.outcome),
        generation_ids=tuple(parameters.generation_id),
        before=parameters.cursor,
        limit=parameters.limit + 1,
    )
    return DeliveriesOut.of(found, parameters.limit)


@router.get(
    "/{delivery_id}",
    summary="Get a delivery with its body",
    operation_id="getDelivery",
    responses=_PROBLEMS,
)
async def get_delivery(
    delivery_id: str, _parameters: Annotated[Strict, Query()], tracker: TheTracker
) -> DeliveryWithBody:
    """Returns what the sender posted, without callback URLs of this service."""
    delivery, body = await tracker.deliveries.get(delivery_id)
    shown = DeliveryWithBody.model_validate(delivery)
    shown.body = body
    return shown


@router.post(
    "/{delivery_id}/replay",
    summary="Replay a delivery",
    operation_id="replayDelivery",
    responses=_PROBLEMS,
)
async def replay(
    delivery_id: str, _parameters: Annotated[Strict, Query()], tracker: TheTracker
) -> ReplayOut:
    """Folds a delivery again, for example one with the outcome `kept`. Repeating it is safe."""
    return ReplayOut.of(await tracker.deliveries.replay(delivery_id))
