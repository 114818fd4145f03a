"""`/deliveries`: the inbox, what of it was not understood, and folding it again."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.domain.generation import Outcome
from service.tracking.schemas import DeliveriesOut, DeliveryWithBody
from service.tracking.tracker import Tracker
from service.web.pages.page import PageRoute, show
from service.web.pages.paths import path_with
from service.web.parameters import DeliveryParameters, TheTracker

_MOST = 200  # deliveries that one click folds again
_KEPT = DeliveryParameters(outcome=[Outcome.KEPT], limit=_MOST, cursor=None)

router = APIRouter(prefix="/deliveries", include_in_schema=False, route_class=PageRoute)


class Parameters(DeliveryParameters):
    """The query parameters of the inbox, and how many deliveries were just folded again."""

    replayed: int | None = None


@router.get("")
async def list_deliveries(
    request: Request, parameters: Annotated[Parameters, Query()], tracker: TheTracker
) -> Response:
    """Show the inbox, newest first."""
    found = await _page(tracker, parameters)
    chosen: dict[str, Sequence[str]] = {
        "outcome": parameters.outcome,
        "generation_id": parameters.generation_id,
    }
    older = found.next_cursor and path_with("/deliveries", **chosen, cursor=[found.next_cursor])
    return show(
        request,
        "deliveries.html",
        title="Deliveries",
        found=found,
        parameters=parameters,
        outcomes=list(Outcome),
        older=older,
        kept=len((await _page(tracker, _KEPT)).items),
        most=_MOST,
        replayed=parameters.replayed,
        json_url=path_with("/v1/deliveries", **chosen),
    )


@router.post("/replay")
async def replay_kept(tracker: TheTracker) -> Response:
    """Fold everything again that was kept."""
    kept = (await _page(tracker, _KEPT)).items
    receipts = [await tracker.deliveries.replay(each.id) for each in kept]
    folded = sum(receipt.outcome is not Outcome.KEPT for receipt in receipts)
    return RedirectResponse(f"/deliveries?outcome=kept&replayed={folded}", 303)


@router.get("/{delivery_id}")
async def show_delivery(delivery_id: str, request: Request, tracker: TheTracker) -> Response:
    """Show a delivery with its body."""
    found, body = await tracker.deliveries.get(delivery_id)
    delivery = DeliveryWithBody.model_validate(found)
    return show(
        request,
        "delivery.html",
        title="Delivery",
        delivery=delivery,
        body=body,
        json_url=f"/v1/deliveries/{delivery.id}",
    )


@router.post("/{delivery_id}/replay")
async def replay(delivery_id: str, tracker: TheTracker) -> Response:
    """Fold a delivery again, then show it."""
    await tracker.deliveries.replay(delivery_id)
    return RedirectResponse(f"/deliveries/{delivery_id}", 303)


async def _page(tracker: Tracker, parameters: DeliveryParameters) -> DeliveriesOut:
    found = await tracker.deliveries.page(
        outcomes=tuple(parameters.outcome),
        generation_ids=tuple(parameters.generation_id),
        before=parameters.cursor,
        limit=parameters.limit + 1,
    )
    return DeliveriesOut.of(found, parameters.limit)
