"""The tool that creates videos."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from service.domain.models import ASPECT_RATIOS, VIDEO_MODELS
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import InvalidInput
from service.mcp_server.arguments import (
    Arguments,
    AspectRatio,
    CreateArguments,
    GenerationId,
    MediaUrl,
    Prompt,
    Reference,
    refuse_given,
    require_length,
    require_supported,
)
from service.mcp_server.creating import Wanted, create
from service.mcp_server.tool import CREATES, Call, Json, TrackerTool, define

_RESOLUTIONS = {
    DREAM_MACHINE: ("540p", "720p", "1080p", "4k"),
    AGENTS: ("360p", "540p", "720p", "1080p"),
}
_DURATIONS = {DREAM_MACHINE: ("5s", "9s"), AGENTS: ("5s", "10s")}
_PROMPTS = {DREAM_MACHINE: (3, 5000), AGENTS: (1, 6000)}
_OF_AGENTS = ("type", "source", "video", "user_id")
_OTHERS = {DREAM_MACHINE: "model ray-3.2", AGENTS: "model ray-2 or ray-flash-2"}
_MOST_GUIDES = 64

Guides = Annotated[list[Reference], Field(min_length=1, max_length=_MOST_GUIDES)]
Indexes = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=_MOST_GUIDES)]


Strength = Literal[
    "adhere_1", "adhere_2", "adhere_3",
    "flex_1", "flex_2", "flex_3",
    "reimagine_1", "reimagine_2", "reimagine_3",
]  # fmt: skip


class Keyframe(Arguments):
    """The first or last frame: an image, or another generation."""

    type: Literal["image", "generation"]
    url: MediaUrl | None = None
    id: GenerationId | None = None

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        wanted, other = (self.url, self.id) if self.type == "image" else (self.id, self.url)
        if wanted is None or other is not None:
            raise ValueError("type image needs url, and type generation needs id")
        return self

    def as_reference(self) -> Json:
        """Return it in the form of the Agents API."""
        return {"url": self.url} if self.type == "image" else {"generation_id": self.id}


class Keyframes(Arguments):
    """First and last frame."""

    frame0: Keyframe | None = None
    frame1: (
        Annotated[Keyframe, WithJsonSchema({"type": "object", "description": "As frame0."})] | None
    ) = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.frame0 is None and self.frame1 is None:
            raise ValueError("keyframes needs frame0 or frame1")
        return self


class Concept(Arguments):
    """A camera motion."""

    key: str


class SourcePosition(Arguments):
    """Where the source lies in the reframed video, in fractions of the canvas."""

    x_norm: float
    y_norm: float
    w_norm: Annotated[float, Field(gt=0, le=2)]
    h_norm: Annotated[float, Field(gt=0, le=2)]


class Edit(Arguments):
    """How a video is edited."""

    strength: Strength | None = None
    auto_controls: bool | None = None
    controls: (
        dict[Literal["depth", "face", "normals", "pose", "trajectory"], dict[str, Any]] | None
    ) = None
    keyframes: Guides | None = None
    keyframe_indexes: Indexes | None = None


class VideoOptions(Arguments):
    """What only ray-3.2 has."""

    hdr: bool | None = None
    exr_export: bool | None = None
    start_frame: Reference | None = None
    end_frame: Reference | None = None
    keyframes: Guides | None = None
    keyframe_indexes: Indexes | None = None
    edit: Edit | None = None
    source_position: SourcePosition | None = None


class CreateGeneration(CreateArguments):
    """Arguments of `create_generation`."""

    prompt: Prompt
    model: Literal["ray-1-6", "ray-2", "ray-flash-2", "ray-3.2"] = "ray-2"
    resolution: Literal["360p", "540p", "720p", "1080p", "4k"] | None = Field(
        None, description="360p: ray-3.2 only; 4k: not ray-3.2."
    )
    duration: Literal["5s", "9s", "10s"] | None = Field(
        None, description="10s: ray-3.2 only; 9s: not ray-3.2."
    )
    aspect_ratio: AspectRatio | None = None
    loop: bool | None = None
    keyframes: Keyframes | None = None
    concepts: list[Concept] | None = Field(None, description="See get_camera_motions; ray-2.")
    type: Literal["video", "video_edit", "video_reframe"] | None = Field(
        None, description="ray-3.2 only, as all below."
    )
    source: Reference | None = Field(None, description="Video to edit or reframe.")
    video: Annotated[VideoOptions, WithJsonSchema({"type": "object"})] | None = Field(
        None,
        description="hdr, exr_export, start_frame, end_frame, keyframes, keyframe_indexes, "
        "source_position {x_norm, y_norm, w_norm, h_norm}, edit {strength: adhere_1..3, flex_1..3 "
        "or reimagine_1..3, auto_controls, controls, keyframes, keyframe_indexes}.",
    )
    user_id: str | None = None


async def _create(call: Call) -> Json:
    wanted = CreateGeneration.model_validate(call.arguments)
    upstream = VIDEO_MODELS[wanted.model]
    _check(wanted, upstream)
    to_body, path = {
        DREAM_MACHINE: (_for_dream_machine, "generations/video"),
        AGENTS: (_for_agents, "generations"),
    }[upstream]
    return await create(call, Wanted(upstream, path, to_body(wanted), wanted.idempotency_key))


def _check(wanted: CreateGeneration, upstream: str) -> None:
    """Check what depends on the model.

    Raises:
        InvalidInput: the model does not take an argument.
    """
    model, others = wanted.model, _OTHERS[upstream]
    require_length(model, wanted.prompt, *_PROMPTS[upstream])
    require_supported(model, "resolution", wanted.resolution, _RESOLUTIONS[upstream], others)
    require_supported(model, "duration", wanted.duration, _DURATIONS[upstream], others)
    require_supported(model, "aspect_ratio", wanted.aspect_ratio, ASPECT_RATIOS[upstream], others)
    refuse_given(model, wanted, ("concepts",) if upstream == AGENTS else _OF_AGENTS, others)
    if (wanted.type in ("video_edit", "video_reframe")) != (wanted.source is not None):
        raise InvalidInput(
            "source",
            f"source: {wanted.type or 'video'} {'has none' if wanted.source else 'needs one'}.",
            "Give type video_edit or video_reframe with a source, or neither.",
        )


def _for_dream_machine(wanted: CreateGeneration) -> Json:
    return {"generation_type": "video", **wanted.given("idempotency_key")}


def _for_agents(wanted: CreateGeneration) -> Json:
    """Return the body, in which the options are one level deeper."""
    moved = ("resolution", "duration", "loop", "keyframes", "video")
    video = wanted.given()
    options = {name: video[name] for name in moved[:3] if name in video}
    options |= wanted.video.given() if wanted.video else {}
    frames = wanted.keyframes or Keyframes.model_construct()
    for name, frame in (("start_frame", frames.frame0), ("end_frame", frames.frame1)):
        if frame:
            options[name] = frame.as_reference()
    body = {"type": "video", **wanted.given(*moved, "idempotency_key")}
    return {**body, "video": options} if options else body


TOOLS = [
    TrackerTool(
        define(
            "create_generation",
            "Create a Luma video",
            "Creates a video from text, images (keyframes) or another generation. Costs credits: "
            "5 s of 720p about $0.71 with ray-2, $0.24 with ray-flash-2, $0.30 with ray-3.2; "
            "resource luma://guide has all prices. Returns at once with `Generation ID`, `State` "
            "and, if known, the estimated price: then call wait_for_generation. The model decides "
            "which arguments there are; a wrong one is refused before anything is charged. "
            "Give idempotency_key, so that repeating the call after an error is safe.",
            CreateGeneration,
            CREATES,
        ),
        _create,
        "creating generation",
    ),
]
