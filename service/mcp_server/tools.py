"""The tools: what each takes, what it does, and what it says.

Clients differ in what they show a model: on success often only the structured content, on an
error only the text. So each carries everything that is needed. Results are made as they go over
the wire; the SDK checks each against the protocol's schema anyway.
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

_MOST_CHARACTERS = 500  # of Luma's words in a text
_CLAIMED = "claimed by callback, not yet confirmed by Luma"

Shape = dict[str, Any]
"""What programs read, as JSON has it."""


class GetGeneration(BaseModel):
    """Which generation."""

    model_config = ConfigDict(extra="forbid")

    generation_id: str = Field(description="The id that Luma gave the generation.")


class ListGenerations(BaseModel):
    """Which generations."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=listing.MAX_LIMIT, description="How many at most.")] = 10
    offset: Annotated[int, Field(ge=0, le=100_000, description="How many to skip.")] = 0
    state: Annotated[
        list[str],
        Field(
            max_length=listing.MOST_VALUES,
            description="Only these: queued, dreaming, processing, completed, failed.",
        ),
    ] = []
    q: Annotated[str, Field(max_length=500, description="Words of prompt, id or failure.")] = ""
    cursor: Annotated[
        str, Field(max_length=1000, description="next_cursor of the page before.")
    ] = ""


async def _get(tracker: Tracker, arguments: Shape) -> Shape:
    generation_id = GetGeneration.model_validate(arguments).generation_id
    answer = await tracker.lookup(generation_id)
    shape = answer.representation.document()
    return _result("\n".join(_lines(shape, answer.age)), shape)


async def _list(tracker: Tracker, arguments: Shape) -> Shape:
    asked = ListGenerations.model_validate(arguments)
    page = await tracker.page(
        listing.Query(
            limit=asked.limit,
            offset=asked.offset,
            state=tuple(asked.state),
            q=asked.q,
            cursor=asked.cursor or None,
        )
    )
    shape = from_json(page_body(page))
    lines = [f"Generations: {len(page.items)}", *map(_summary, shape["items"])]
    if page.next_cursor:
        lines.append(f"More: call again with cursor {page.next_cursor}")
    return _result("\n".join(lines), shape)


def _summary(g: Shape) -> str:
    claimed = _CLAIMED if _is_claim(g) else None
    told = (g["id"], g["state"], claimed, g["operation"], g["prompt"])
    return " · ".join(_short(each) for each in told if each)


def _lines(g: Shape, age: timedelta) -> list[str]:
    """A generation in the words that agents know from the usual tool."""
    said = {
        "Generation ID": g["id"],
        "State": g["state"],
        "Reason": (g["failure_reason"] or "not told") if g["state"] == "failed" else None,
        "Type": g["operation"],
        "Model": g["model"],
        "Prompt": g["prompt"],
        "Video URL": g["assets"]["video"],
        "Image URL": g["assets"]["image"],
        "Progress video URL": g["assets"]["progress_video"],
        "Last heard from Luma": f"{age.total_seconds():.0f} s ago",
    }
    lines = [f"{name}: {_told_as(name, value)}" for name, value in said.items() if value]
    if _is_claim(g):
        lines.append(f"This is only {_CLAIMED}. Luma is asked; look again in a few seconds.")
    if not g["terminal"]:
        lines.append("It is not finished; ask again in a few seconds.")
    return lines


def _is_claim(g: Shape) -> bool:
    """Whether the end, or the URL, was told by a callback alone, which anybody may have sent."""
    return not g["verified"] and (g["terminal"] or any(g["assets"].values()))


def _told_as(name: str, value: str) -> str:
    return one_line(value) if name.endswith("URL") else _short(value)  # half a URL is of no use


def _short(value: str) -> str:
    """Words of others, in one line that leaves room for ours."""
    return _cut(one_line(value))


def _cut(line: str) -> str:
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 1]}…"


def _result(text: str, shape: Shape) -> Shape:
    return {**_told(text), "structuredContent": shape, "isError": False}


def _told(text: str) -> Shape:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}]}


def failure(doing: str, error: TrackerError | ValidationError) -> Shape:
    """The result that tells a model what went wrong, and what to do."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Correct the arguments."
    else:
        told = f"{_short(str(error))} {error.hint}"
    return {**_told(one_line(f"Error {_cut(doing)}: {told}")), "isError": True}


def _flat(schema: Shape) -> Shape:
    """The page's schema with its items written out; many clients do not follow `$ref`."""
    items = schema.pop("$defs")["GenerationOut"]
    schema["properties"]["items"]["items"] = items
    return schema


@dataclass(frozen=True, slots=True)
class OurTool:
    """One tool, and how it is called."""

    definition: Tool
    call: Callable[[Tracker, Shape], Awaitable[Shape]]
    doing: str  # how an error text begins


_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)

TOOLS = {
    "get_generation": OurTool(
        Tool(
            name="get_generation",
            title="Get a Luma generation",
            description="State, failure reason and asset URLs of one Luma generation, by its id.",
            input_schema=GetGeneration.model_json_schema(),
            output_schema=GenerationOut.model_json_schema(mode="serialization"),
            annotations=_READS,
        ),
        _get,
        "getting generation {generation_id}",
    ),
    "list_generations": OurTool(
        Tool(
            name="list_generations",
            title="List Luma generations",
            description="The Luma generations that the tracker knows, newest first.",
            input_schema=ListGenerations.model_json_schema(),
            output_schema=_flat(PageOut.model_json_schema(mode="serialization")),
            annotations=_READS,
        ),
        _list,
        "listing generations",
    ),
}
