"""`/`: the generations as gallery or table, with the query of `GET /v1/generations`."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from pydantic import Field, ValidationError
from starlette.responses import Response

from service.domain.generation import KNOWN_STATES
from service.errors import InvalidInput, InvalidQuery
from service.storage import listing
from service.storage.shape import GenerationOut
from service.tracking.tracker import Tracker
from service.web.pages import snippets
from service.web.pages.media import media_of
from service.web.pages.page import PageRoute, show
from service.web.parameters import TheTracker
from service.web.responses import lists

COLUMNS = ("state", "prompt", "model", "operation", "created", "took", "cost", "upstream", "id")
_USUAL_COLUMNS = ("state", "prompt", "model", "created", "took", "cost")
_RANGES = {"": "Any time", "-1h": "Last hour", "-24h": "Last 24 hours", "-7d": "Last 7 days",
           "-30d": "Last 30 days"}  # fmt: skip
_SORTS = {
    "-created_at": "Newest first",
    "created_at": "Oldest first",
    "-updated_at": "Changed last",
    "updated_at": "Changed first",
}
_OF_PAGE = ("view", "column", "newer")
_MANY = {n for n, field in lists.ListParameters.model_fields.items() if field.default == []}

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Parameters(lists.ListParameters):
    """The query parameters of the list, and how it is shown."""

    limit: int = Field(30, ge=1, le=listing.MAX_LIMIT)
    view: Literal["gallery", "table"] = "gallery"
    column: list[str] = Field([], max_length=len(COLUMNS))
    newer: str | None = Field(None, max_length=1000)

    def query(self) -> listing.Query:
        """Return the parameters as the tracker takes them; `newer` reads from the other end."""
        given = {name: getattr(self, name) for name in lists.ListParameters.model_fields}
        given |= {"fields": None, "format": None}  # they are for the JSON twin
        query = lists.ListParameters.model_construct(**given).query()
        if self.newer:
            query = replace(query, sort=query.sort.opposite, cursor=self.newer)
        return query


class Shown(NamedTuple):
    """One page of the list, and the cursors of its neighbours."""

    items: list[GenerationOut]
    older: str | None
    newer: str | None


@router.get("/")
async def list_generations(request: Request, tracker: TheTracker) -> Response:
    """Show the generations that match."""
    given = [(name, value) for name, value in request.query_params.multi_items() if value]
    parameters = _parameters(given)
    after = await tracker.history.newest()
    error, shown = None, Shown([], None, None)
    try:
        shown = await _page(tracker, parameters)
    except InvalidQuery as invalid:
        error = invalid
    return show(
        request,
        "generations.html",
        title="Generations",
        status=422 if error else 200,
        error=error,
        shown=shown,
        media_of=media_of,
        counts=await _counts(tracker),
        filtered=any(name not in (*_OF_PAGE, "sort", "limit") for name, _ in given),
        link=Links(given),
        to_begin=snippets.to_begin(request),
        json_url=_json_url(given),
        live_after=after,
        **_controls(parameters),
    )


def _controls(parameters: Parameters) -> dict[str, object]:
    chosen = tuple(name for name in COLUMNS if name in (parameters.column or _USUAL_COLUMNS))
    return {
        "parameters": parameters,
        "all_columns": COLUMNS,
        "columns": chosen,
        "ranges": _RANGES,
        "sorts": _SORTS,
    }


class Links:
    """Links to the same list with other parameters."""

    def __init__(self, given: list[tuple[str, str]]) -> None:
        self._given = given

    def __call__(self, **changed: str | None) -> str:
        """Return the path; None removes a parameter. Another filter begins at the first page."""
        dropped = {*changed, "cursor", "newer"}
        kept = [(name, value) for name, value in self._given if name not in dropped]
        added = [(name, value) for name, value in changed.items() if value]
        return f"/?{urlencode([*kept, *added])}" if kept or added else "/"

    def given(self, name: str) -> str:
        """Return the value of a parameter; empty if it is missing."""
        return next((value for key, value in self._given if key == name), "")

    def others(self, *names: str) -> list[tuple[str, str]]:
        """Return the parameters that a form does not name itself."""
        return [pair for pair in self._given if pair[0] not in (*names, "cursor", "newer")]


async def _counts(tracker: Tracker) -> dict[str, int]:
    """Return how many generations are in each state; known states first."""
    return dict.fromkeys(KNOWN_STATES, 0) | await tracker.stats.by_state()


async def _page(tracker: Tracker, parameters: Parameters) -> Shown:
    page = await tracker.page(parameters.query())
    items = [item.generation() for item in page.items]
    if parameters.newer:
        return Shown(items[::-1], page.first_cursor, page.next_cursor)
    return Shown(items, page.next_cursor, page.first_cursor if parameters.cursor else None)


def _parameters(given: list[tuple[str, str]]) -> Parameters:
    flat: dict[str, Any] = {}
    for name, value in given:
        if name in (*_MANY, "column"):
            flat.setdefault(name, []).append(value)
        else:
            flat[name] = value
    try:
        return Parameters.model_validate(flat)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "query"
        message = f"{field}: {first['msg'].removeprefix('Value error, ')}."
        raise InvalidInput(field, message, "Go back, or begin anew at /.") from error


def _json_url(given: list[tuple[str, str]]) -> str:
    kept = [(name, value) for name, value in given if name not in _OF_PAGE]
    return f"{lists.PATH}?{urlencode(kept)}" if kept else lists.PATH
