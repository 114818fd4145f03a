"""`/generations/{id}`: one generation, where it comes from, and all that happened to it."""

from typing import NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.domain.query import Key, OneOf, Query
from service.errors import TrackerError
from service.storage import listing
from service.storage.shape import GenerationOut
from service.tracking.tracker import Tracker
from service.web.pages import snippets
from service.web.pages.media import media_of
from service.web.pages.page import PageRoute, show
from service.web.pages.timeline import timeline
from service.web.parameters import GenerationId, TheTracker

_MOST_ANCESTORS = 5
_MOST_CHILDREN = 20

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Lineage(NamedTuple):
    """What a generation was made from, the oldest first, and what was made from it."""

    ancestors: list[GenerationOut]
    children: list[GenerationOut]
    unknown_parent: str | None
    """The id of an ancestor that is not stored."""


@router.get("/generations/{generation_id}")
async def show_generation(
    generation_id: GenerationId, request: Request, tracker: TheTracker
) -> Response:
    """Show a generation; an unknown one is fetched from Luma first."""
    after = await tracker.history.newest()
    answer = await tracker.lookup(generation_id)
    generation = GenerationOut.model_validate_json(answer.representation.body)
    return show(
        request,
        "generation.html",
        title=f"Generation {generation_id}",
        generation=generation,
        media=media_of(generation),
        lineage=await _lineage(tracker, generation),
        timeline=await timeline(tracker, generation),
        snippets=snippets.of_generation(request, generation_id, generation.upstream),
        json_url=f"/v1/generations/{generation_id}",
        live_after=after,
    )


@router.post("/generations/{generation_id}/refresh")
async def refresh(generation_id: GenerationId, tracker: TheTracker) -> Response:
    """Ask Luma about a generation now, then show it."""
    await tracker.lookup(generation_id, fresh=True)
    return RedirectResponse(f"/generations/{quote(generation_id)}", 303)


async def _lineage(tracker: Tracker, generation: GenerationOut) -> Lineage:
    ancestors: list[GenerationOut] = []
    seen, parent = {generation.id}, generation.parent_id
    while parent and parent not in seen and len(ancestors) < _MOST_ANCESTORS:
        if (found := await _stored(tracker, parent)) is None:
            return Lineage(ancestors, await _children(tracker, generation.id), parent)
        seen.add(parent)
        ancestors.insert(0, found)
        parent = found.parent_id
    return Lineage(ancestors, await _children(tracker, generation.id), None)


async def _stored(tracker: Tracker, generation_id: str) -> GenerationOut | None:
    try:
        answer = await tracker.lookup_stored(generation_id)
    except TrackerError:
        return None
    return answer and GenerationOut.model_validate_json(answer.representation.body)


async def _children(tracker: Tracker, generation_id: str) -> list[GenerationOut]:
    q = Query((OneOf(Key.PARENT, (generation_id,)),))
    page = await tracker.page(
        listing.Query(q=q, gone=True, sort=listing.Sort.CREATED_UP, limit=_MOST_CHILDREN)
    )
    return [item.generation() for item in page.items]
