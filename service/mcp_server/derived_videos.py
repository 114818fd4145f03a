"""The tools that make a new video from a finished one: at a higher resolution, with audio."""

from typing import Annotated, Literal

from pydantic import Field

from service.domain.upstreams import DREAM_MACHINE
from service.errors import InvalidInput
from service.mcp_server.arguments import (
    CreateArguments,
    GenerationId,
    Prompt,
)
from service.mcp_server.creating import Wanted, create
from service.mcp_server.tool import CREATES, Call, Json, TrackerTool, define


class UpscaleGeneration(CreateArguments):
    """Arguments of `upscale_generation`."""

    generation_id: GenerationId
    resolution: Literal["540p", "720p", "1080p", "4k"]


class AddAudio(CreateArguments):
    """Arguments of `add_audio`."""

    generation_id: GenerationId
    prompt: Annotated[Prompt, Field(max_length=5000)]
    negative_prompt: Annotated[str, Field(max_length=5000)] | None = None


async def _upscale(call: Call) -> Json:
    wanted = UpscaleGeneration.model_validate(call.arguments)
    body = {"generation_type": "upscale_video", **wanted.given("generation_id", "idempotency_key")}
    return await _create_from(call, wanted.generation_id, "upscale", body, wanted.idempotency_key)


async def _add_audio(call: Call) -> Json:
    wanted = AddAudio.model_validate(call.arguments)
    body = {"generation_type": "add_audio", **wanted.given("generation_id", "idempotency_key")}
    return await _create_from(call, wanted.generation_id, "audio", body, wanted.idempotency_key)


async def _create_from(
    call: Call, parent_id: str, operation: str, body: Json, key: str | None
) -> Json:
    """Create a generation from another, after a check that Luma can."""
    call.gateway.require_key(DREAM_MACHINE)
    parent = (await call.tracker.lookup(parent_id)).representation.document()
    _require_finished_video(parent)
    path = f"generations/{parent_id}/{operation}"
    return await create(call, Wanted(DREAM_MACHINE, path, body, key))


def _require_finished_video(parent: Json) -> None:
    """Check that a generation is a finished video of the Dream Machine API.

    Raises:
        InvalidInput: it is not.
    """
    problem, hint = "", ""
    if parent["upstream"] != DREAM_MACHINE:
        problem, hint = "it belongs to the Agents API, which cannot do this", "Use a ray-2 video."
    elif parent["generation_type"] not in ("video", None):
        problem, hint = f"it is an {parent['generation_type']}", "Use the id of a video."
    elif not parent["terminal"]:
        problem, hint = f"it is still {parent['state']}", "Call wait_for_generation first."
    elif parent["state"] != "completed":
        problem, hint = f"it is {parent['state']}", "Create it again first."
    if problem:
        raise InvalidInput("generation_id", f"generation_id: {problem}.", hint)


TOOLS = [
    TrackerTool(
        define(
            "upscale_generation",
            "Upscale a Luma video",
            "Makes a copy of a completed ray video at a higher resolution. Costs credits: per "
            "second $0.06 (720p), $0.09 (1080p), $0.11 (4k). Returns the NEW generation's id at "
            "once: call wait_for_generation with that one. Each video can be upscaled once.",
            UpscaleGeneration,
            CREATES,
        ),
        _upscale,
        "upscaling generation {generation_id}",
    ),
    TrackerTool(
        define(
            "add_audio",
            "Add audio to a Luma video",
            "Makes a copy of a completed ray video with generated sound. Costs credits: $0.02 per "
            "second. Returns the NEW generation's id at once: call wait_for_generation with that.",
            AddAudio,
            CREATES,
        ),
        _add_audio,
        "adding audio to generation {generation_id}",
    ),
]
