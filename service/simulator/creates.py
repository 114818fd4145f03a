"""The request bodies that create generations, one model per operation.

Invalid bodies are refused as FastAPI refuses them. Dumping a model gives Luma's echo: the same keys
in the same order, with defaults filled in, and null for every field that was not given.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from service.simulator.world import Upstream

AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]
VideoModel = Literal["ray-1-6", "ray-2", "ray-flash-2"]
ImageModel = Literal["photon-1", "photon-flash-1"]
ImageFormat = Literal["jpg", "png"]
ModifyMode = Literal[
    "adhere_1", "adhere_2", "adhere_3",
    "flex_1", "flex_2", "flex_3",
    "reimagine_1", "reimagine_2", "reimagine_3",
]  # fmt: skip


class Media(BaseModel):
    """A file of the caller, which Luma downloads."""

    url: str


class Concept(BaseModel):
    """A camera concept."""

    key: str


class Create(BaseModel):
    """The base of all create bodies."""

    usual: ClassVar[Mapping[str, Any]] = {}
    """Fields for a generation that is made without a request: required fields and a prompt."""

    def echo(self) -> dict[str, Any]:
        """Return the `request` of the generation."""
        return self.model_dump(mode="json")


class VideoCreate(Create):
    """POST /generations/video"""

    usual = {"model": "ray-2", "prompt": "a serene lake at sunset"}
    generation_type: Literal["video"] = "video"
    model: VideoModel
    prompt: str | None = None
    aspect_ratio: AspectRatio = "16:9"
    loop: bool = False
    keyframes: dict[Literal["frame0", "frame1"], dict[str, Any]] | None = None
    callback_url: str | None = None
    resolution: str | None = None
    duration: str | None = None
    concepts: list[Concept] | None = None


class ImageCreate(Create):
    """POST /generations/image"""

    usual = {"model": "photon-1", "prompt": "man as a warrior"}
    generation_type: Literal["image"] = "image"
    model: ImageModel
    prompt: str | None = None
    aspect_ratio: AspectRatio = "16:9"
    format: ImageFormat = "jpg"
    callback_url: str | None = None
    image_ref: list[dict[str, Any]] | None = None
    style_ref: list[dict[str, Any]] | None = None
    character_ref: dict[str, Any] | None = None
    modify_image_ref: dict[str, Any] | None = None
    sync: bool = False
    sync_timeout: float = 60
    """Seconds that a synchronous create waits for the image."""


class UpscaleCreate(Create):
    """POST /generations/{id}/upscale"""

    generation_type: Literal["upscale_video"] = "upscale_video"
    resolution: str | None = None
    callback_url: str | None = None


class AudioCreate(Create):
    """POST /generations/{id}/audio"""

    generation_type: Literal["add_audio"] = "add_audio"
    prompt: str | None = None
    negative_prompt: str | None = None
    callback_url: str | None = None


class Frame(BaseModel):
    """Position of the source in a reframed image, in pixels."""

    grid_position_x: int | None = None
    grid_position_y: int | None = None
    x_start: int | None = None
    x_end: int | None = None
    y_start: int | None = None
    y_end: int | None = None
    resized_width: int | None = None
    resized_height: int | None = None


class ReframeCreate(Create, Frame):
    """The base of both reframes; the echo contains only the frame fields that were given."""

    def echo(self) -> dict[str, Any]:
        echo = super().echo()
        frame = {name: echo.pop(name) for name in Frame.model_fields}
        return echo | {name: pixels for name, pixels in frame.items() if pixels is not None}


class ReframeVideoCreate(ReframeCreate):
    """POST /generations/video/reframe"""

    usual = {
        "generation_type": "reframe_video",
        "model": "ray-2",
        "media": {"url": "https://example.com/v.mp4"},
        "aspect_ratio": "9:16",
    }
    generation_type: Literal["reframe_video"]
    model: Literal["ray-2", "ray-flash-2"]
    media: Media
    first_frame: Media | None = None
    prompt: str = ""
    aspect_ratio: AspectRatio
    callback_url: str | None = None


class ReframeImageCreate(ReframeCreate):
    """POST /generations/image/reframe"""

    usual = {
        "generation_type": "reframe_image",
        "model": "photon-1",
        "media": {"url": "https://example.com/i.png"},
        "aspect_ratio": "1:1",
    }
    generation_type: Literal["reframe_image"]
    model: ImageModel
    media: Media
    prompt: str = ""
    aspect_ratio: AspectRatio
    format: ImageFormat = "jpg"
    callback_url: str | None = None


class ModifyVideoCreate(Create):
    """POST /generations/video/modify"""

    usual = {
        "generation_type": "modify_video",
        "model": "ray-2",
        "media": {"url": "https://example.com/v.mp4"},
        "mode": "flex_1",
    }
    generation_type: Literal["modify_video"]
    model: Literal["ray-2", "ray-flash-2"]
    media: Media
    first_frame: Media | None = None
    mode: ModifyMode
    prompt: str | None = None
    callback_url: str | None = None


class AgentsCreate(Create):
    """POST /generations of the Agents API: one route for all operations, and no callback."""

    usual = {"prompt": "a serene lake at sunset"}
    prompt: str = Field(min_length=1, max_length=6000)
    model: Literal["uni-1", "uni-1-max", "ray-3.2"] | None = None
    type: Literal["image", "image_edit", "video", "video_edit", "video_reframe", "layering"] = (
        "image"
    )
    aspect_ratio: str | None = None
    image_ref: list[dict[str, Any]] | None = None
    source: dict[str, Any] | None = None
    output_format: Literal["png", "jpeg"] | None = None
    style: Literal["auto", "manga"] | None = None
    user_id: str | None = None
    web_search: bool | None = None
    layering: dict[str, Any] | None = None
    video: dict[str, Any] | None = None

    def chosen_model(self) -> str:
        """Return the requested model, else the one that supports the operation."""
        return self.model or ("ray-3.2" if self.type.startswith("video") else "uni-1")


DREAM_MACHINE_CREATES: Mapping[str, type[Create]] = {
    "video": VideoCreate,
    "image": ImageCreate,
    "upscale_video": UpscaleCreate,
    "add_audio": AudioCreate,
    "reframe_image": ReframeImageCreate,
    "reframe_video": ReframeVideoCreate,
    "modify_video": ModifyVideoCreate,
}
"""Operation -> its request body."""

PARENT_MODEL = "ray-2"
"""The model of an upscale or audio without a parent; otherwise it is the parent's model."""


def without_request(
    upstream: Upstream, operation: str, given: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the model and the `request` of a generation that no client asked for.

    Fields that are not `given` are filled in.

    Raises:
        ValueError: the operation or a field is unknown.
    """
    create = AgentsCreate if upstream == "agents" else DREAM_MACHINE_CREATES.get(operation)
    if create is None:
        raise ValueError(f"{upstream} has no operation {operation}")
    fields = {"type": operation, **given} if upstream == "agents" else given
    unknown = fields.keys() - create.model_fields.keys() - {"model"}
    if unknown:
        raise ValueError(f"{operation} has no field {', '.join(sorted(unknown))}")
    body = create.model_validate({**create.usual, **fields})
    model = body.chosen_model() if isinstance(body, AgentsCreate) else getattr(body, "model", None)
    return model or given.get("model", PARENT_MODEL), body.echo()
