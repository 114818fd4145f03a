"""`/deliveries`: the inbox, what of it was not understood, and folding it again."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from service.domain.generation import Outcome
from service.tracking.schemas import DeliveriesOut, DeliveryWithBody
from service.tracking.tracker import Tracker
from service.web.pages.page import EVERY, PageRoute, show
from service.web.pages.paths import path_with
from service.web.parameters import DeliveryParameters, TheTracker

_MOST = 200  # deliveries that one click folds again

router = APIRouter(prefix="/deliveries", include_in_schema=False, route_class=PageRoute)


class Parameters(DeliveryParameters):
    """The query parameters of the inbox, and how many deliveries were just folded again."""

    replayed: int | None = None


@router.get("")
async def list_deliveries(
    request: Request, parameters: Annotated[Parameters, Query()], tracker: TheTracker
) -> Response:
    """Show the inbox, newest first."""
    after = await tracker.history.newest()
    found = await _page(tracker, parameters)
    chosen = _chosen(parameters)
    older = found.next_cursor and path_with("/deliveries", **chosen, cursor=[found.next_cursor])
    again = _to_replay(parameters)
    return show(
        request,
        "deliveries.html",
        title="Deliveries",
        found=found,
        parameters=parameters,
        outcomes=list(Outcome),
        here=path_with("/deliveries", **chosen),
        older=older,
        again=again,
        count=len((await _page(tracker, again)).items),
        replayed=parameters.replayed,
        json_url=path_with("/v1/deliveries", **chosen),
        live_after=after,
        live_every=EVERY,
    )


@router.post("/replay")
async def replay_all(
    tracker: TheTracker,
    outcome: Annotated[list[Outcome] | None, Form()] = None,
    generation_id: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Fold the newest deliveries of a filter again, those that were kept if there is none."""
    given = DeliveryParameters(
        outcome=outcome or [], generation_id=generation_id or [], limit=_MOST, cursor=None
    )
    again = _to_replay(given)
    found = (await _page(tracker, again)).items
    receipts = [await tracker.deliveries.replay(each.id) for each in found]
    folded = sum(receipt.outcome is not Outcome.KEPT for receipt in receipts)
    return RedirectResponse(path_with("/deliveries", **_chosen(again), replayed=[str(folded)]), 303)


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


def _chosen(parameters: DeliveryParameters) -> dict[str, Sequence[str]]:
    return {"outcome": parameters.outcome, "generation_id": parameters.generation_id}


def _to_replay(parameters: DeliveryParameters) -> DeliveryParameters:
    """Return which deliveries the button folds again: those shown, or what was not understood."""
    chosen = _chosen(parameters)
    if not any(chosen.values()):
        chosen["outcome"] = [Outcome.KEPT]
    return DeliveryParameters.model_validate({**chosen, "limit": _MOST})


async def _page(tracker: Tracker, parameters: DeliveryParameters) -> DeliveriesOut:
    found = await tracker.deliveries.page(
        outcomes=tuple(parameters.outcome),
        generation_ids=tuple(parameters.generation_id),
        before=parameters.cursor,
        limit=parameters.limit + 1,
    )
    return DeliveriesOut.of(found, parameters.limit)
