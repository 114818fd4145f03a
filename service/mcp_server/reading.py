"""The tools that read generations: one, a list, and one as soon as it is finished."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from service.domain.query import LONGEST, parse
from service.mcp_server import schemas
from service.mcp_server.describing import lines, next_step, summary
from service.mcp_server.tool import READS, Call, Json, TrackerTool, define, success
from service.mcp_server.view import TOOL_META
from service.storage import listing
from service.tracking.schemas import page_body

WAIT = "wait_for_generation"
LONGEST_WAIT = 55
"""Seconds; many clients give up after 60."""
_USUAL_WAIT = 45  # seconds


class GetGeneration(BaseModel):
    """Arguments of `get_generation`."""

    model_config = ConfigDict(extra="forbid")

    generation_id: str = Field(description="The id that Luma assigned to the generation.")


class WaitForGeneration(BaseModel):
    """Arguments of `wait_for_generation`."""

    model_config = ConfigDict(extra="forbid")

    generation_id: str
    timeout_seconds: int = Field(_USUAL_WAIT, ge=1, le=LONGEST_WAIT)


class ListGenerations(BaseModel):
    """Arguments of `list_generations`."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=listing.MAX_LIMIT)] = 10
    offset: Annotated[
        int, Field(ge=0, le=100_000, description="Generations to skip; prefer `cursor`.")
    ] = 0
    state: Annotated[
        list[str],
        Field(
            max_length=listing.MAX_VALUES,
            description="queued, dreaming, processing, completed, failed. Empty: all.",
        ),
    ] = []
    q: Annotated[
        str,
        Field(
            max_length=LONGEST,
            description="Words in prompt, id or failure, and terms: state:failed model:ray-2 "
            "is:open after:-24h cost:>0.5 took:>60s; - negates.",
        ),
    ] = ""
    cursor: Annotated[
        str, Field(max_length=1000, description="`next_cursor` of the previous page.")
    ] = ""


async def _get(call: Call) -> Json:
    generation_id = GetGeneration.model_validate(call.arguments).generation_id
    answer = await call.tracker.lookup(generation_id)
    generation = answer.representation.document()
    text = lines(generation, answer.age)
    if not generation["terminal"]:
        text.append(f"It is not finished. Call {WAIT}, or ask again in a few seconds.")
    return success("\n".join(text), generation)


async def _list(call: Call) -> Json:
    wanted = ListGenerations.model_validate(call.arguments)
    page = await call.tracker.page(
        listing.Query(
            limit=wanted.limit,
            offset=wanted.offset,
            state=tuple(wanted.state),
            q=parse(wanted.q),
            cursor=wanted.cursor or None,
        )
    )
    document = from_json(page_body(page))
    text = [f"Generations: {len(page.items)}", *map(summary, document["items"])]
    if page.next_cursor:
        text.append(f"More: call again with cursor {page.next_cursor}")
    return success("\n".join(text), document)


async def _wait(call: Call) -> Json:
    wanted = WaitForGeneration.model_validate(call.arguments)
    async with _reports(call, wanted):
        answer = await call.tracker.wait(wanted.generation_id, wanted.timeout_seconds)
    generation = answer.representation.document()
    timed_out = not answer.final
    step = next_step(generation)
    if timed_out:
        step = f"Still {generation['state']} after {wanted.timeout_seconds} s: no error. {step}"
    text = [*lines(generation, answer.age), step]
    return success("\n".join(text), {**generation, "timed_out": timed_out, "next_step": step})


@asynccontextmanager
async def _reports(call: Call, wanted: WaitForGeneration) -> AsyncIterator[None]:
    """Report progress while the context is open, if the client asked for it."""
    if call.progress is None:
        yield
        return
    reporting = asyncio.create_task(_report(call, wanted), name="mcp-progress")
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


async def _report(call: Call, wanted: WaitForGeneration) -> None:
    assert call.progress  # noqa: S101 - the caller has checked it
    total = wanted.timeout_seconds
    for count in itertools.count(1):
        await asyncio.sleep(call.report_every)
        waited = count * call.report_every
        await call.progress(waited, total, f"Waited {waited:.0f} s of {total} s.")


TOOLS = [
    TrackerTool(
        define(
            "get_generation",
            "Get a Luma generation",
            "Returns the state, failure reason and asset URLs of one Luma generation, at once and "
            "at no cost: from a local store; Luma is asked only if the id is unknown or the stored "
            f"state is old. If `terminal` is false, call {WAIT} instead of asking again and again.",
            GetGeneration,
            READS,
            schemas.GENERATION,
            TOOL_META,
        ),
        _get,
        "getting generation {generation_id}",
    ),
    TrackerTool(
        define(
            WAIT,
            "Wait for a Luma generation",
            "Waits until a generation is completed or failed, and returns it as get_generation "
            "does. Free. Use it after each create. Images take seconds, videos 1 to 5 minutes. "
            "If `timed_out` is true it is still running, which is no error: call again with the "
            "same id. Calling get_generation in a loop is slower.",
            WaitForGeneration,
            READS,
            schemas.WAITED,
            TOOL_META,
        ),
        _wait,
        "waiting for generation {generation_id}",
    ),
    TrackerTool(
        define(
            "list_generations",
            "List Luma generations",
            "Lists the generations in the local store, newest first. Free. Sends no request to "
            "Luma, so a generation that the store does not know is missing: call get_generation "
            "with its id. If `has_more` is true, call again with `next_cursor` as `cursor`.",
            ListGenerations,
            READS,
            schemas.PAGE,
        ),
        _list,
        "listing generations",
    ),
]
