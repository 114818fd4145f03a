"""The MCP tools: their arguments, descriptions and results.

Clients differ in what they show to a model: often only the structured content of a success, and
only the text of an error. So both contain everything that is needed. Results are dicts in the form
of the protocol; the SDK validates each against the protocol's schema anyway.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from service.domain.text import one_line
from service.errors import TrackerError
from service.storage import listing
from service.storage.shape import GenerationOut
from service.tracking.schemas import PageOut, page_body
from service.tracking.tracker import Tracker

_MAX_CHARACTERS = 500  # of a value from Luma in a text
_CLAIMED = "claimed by callback, not yet confirmed by Luma"

Json = dict[str, Any]
"""A JSON object."""


class GetGeneration(BaseModel):
    """Arguments of `get_generation`."""

    model_config = ConfigDict(extra="forbid")

    generation_id: str = Field(description="The id that Luma assigned to the generation.")


class ListGenerations(BaseModel):
    """Arguments of `list_generations`."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        int, Field(ge=1, le=listing.MAX_LIMIT, description="Maximum number of generations.")
    ] = 10
    offset: Annotated[
        int, Field(ge=0, le=100_000, description="Number of generations to skip; prefer `cursor`.")
    ] = 0
    state: Annotated[
        list[str],
        Field(
            max_length=listing.MAX_VALUES,
            description="Only generations in these states: queued, dreaming, processing, "
            "completed, failed. Empty: all.",
        ),
    ] = []
    q: Annotated[
        str, Field(max_length=500, description="Words that must occur in prompt, id or failure.")
    ] = ""
    cursor: Annotated[
        str, Field(max_length=1000, description="`next_cursor` of the previous page.")
    ] = ""


async def _get(tracker: Tracker, arguments: Json) -> Json:
    generation_id = GetGeneration.model_validate(arguments).generation_id
    answer = await tracker.lookup(generation_id)
    generation = answer.representation.document()
    return _success("\n".join(_lines(generation, answer.age)), generation)


async def _list(tracker: Tracker, arguments: Json) -> Json:
    wanted = ListGenerations.model_validate(arguments)
    page = await tracker.page(
        listing.Query(
            limit=wanted.limit,
            offset=wanted.offset,
            state=tuple(wanted.state),
            q=wanted.q,
            cursor=wanted.cursor or None,
        )
    )
    document = from_json(page_body(page))
    lines = [f"Generations: {len(page.items)}", *map(_summary, document["items"])]
    if page.next_cursor:
        lines.append(f"More: call again with cursor {page.next_cursor}")
    return _success("\n".join(lines), document)


def _summary(g: Json) -> str:
    claimed = _CLAIMED if _is_claim(g) else None
    values = (g["id"], g["state"], claimed, g["operation"], g["prompt"])
    return " · ".join(_short(each) for each in values if each)


def _lines(g: Json, age: timedelta) -> list[str]:
    """Describe a generation, a line per value, with the labels of the usual Luma MCP tool."""
    values = {
        "Generation ID": g["id"],
        "State": g["state"],
        "Reason": (g["failure_reason"] or "not reported") if g["state"] == "failed" else None,
        "Type": g["operation"],
        "Model": g["model"],
        "Prompt": g["prompt"],
        "Video URL": g["assets"]["video"],
        "Image URL": g["assets"]["image"],
        "Progress video URL": g["assets"]["progress_video"],
        "Last report from Luma": f"{age.total_seconds():.0f} s ago",
    }
    lines = [f"{name}: {_line_value(name, value)}" for name, value in values.items() if value]
    if _is_claim(g):
        lines.append(f"This is only {_CLAIMED}. Call again in a few seconds.")
    if not g["terminal"]:
        lines.append("It is not finished; ask again in a few seconds.")
    return lines


def _is_claim(g: Json) -> bool:
    """Return whether only a callback, which anybody may have sent, reports the end or a URL."""
    return not g["verified"] and (g["terminal"] or any(g["assets"].values()))


def _line_value(name: str, value: str) -> str:
    return one_line(value) if name.endswith("URL") else _short(value)  # half a URL is of no use


def _short(value: str) -> str:
    """Put a value from outside on one line, and shorten it."""
    return _cut(one_line(value))


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def _success(text: str, document: Json) -> Json:
    return {**_text_result(text), "structuredContent": document, "isError": False}


def _text_result(text: str) -> Json:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}]}


def failure(action: str, error: TrackerError | ValidationError) -> Json:
    """Build an error result whose text says what is wrong, and what to do.

    Args:
        action: what the tool was doing, such as "listing generations".
        error: what went wrong.
    """
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Correct the arguments."
    else:
        reason = f"{_short(str(error))} {error.hint}"
    return {**_text_result(one_line(f"Error {_cut(action)}: {reason}")), "isError": True}


def _flat(schema: Json) -> Json:
    """Replace the `$ref` in the schema of a page: many clients do not follow it."""
    items = schema.pop("$defs")["GenerationOut"]
    schema["properties"]["items"]["items"] = items
    return schema


@dataclass(frozen=True, slots=True)
class TrackerTool:
    """A tool: its definition for clients, and its implementation."""

    definition: Tool
    call: Callable[[Tracker, Json], Awaitable[Json]]
    action: str
    """The start of its error texts, after "Error"; may contain `{generation_id}`."""


_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)

TOOLS = {
    "get_generation": TrackerTool(
        Tool(
            name="get_generation",
            title="Get a Luma generation",
            description="Returns the state, failure reason and asset URLs of one Luma generation. "
            "Answered from a local store at no cost; Luma is asked only if the id is unknown or "
            "the stored state is old. If `terminal` is false, call again in a few seconds.",
            input_schema=GetGeneration.model_json_schema(),
            output_schema=GenerationOut.model_json_schema(mode="serialization"),
            annotations=_READS,
        ),
        _get,
        "getting generation {generation_id}",
    ),
    "list_generations": TrackerTool(
        Tool(
            name="list_generations",
            title="List Luma generations",
            description="Lists the Luma generations in the local store, newest first. Sends no "
            "request to Luma, so a generation that the store does not know is missing: call "
            "get_generation with its id. If `has_more` is true, call again with `next_cursor` as "
            "`cursor`.",
            input_schema=ListGenerations.model_json_schema(),
            output_schema=_flat(PageOut.model_json_schema(mode="serialization")),
            annotations=_READS,
        ),
        _list,
        "listing generations",
    ),
}
