"""The tool that creates images."""

from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from service.domain.models import ASPECT_RATIOS, IMAGE_MODELS
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import InvalidInput
from service.mcp_server.arguments import (
    Arguments,
    AspectRatio,
    CreateArguments,
    MediaUrl,
    Prompt,
    Reference,
    refuse_given,
    require_length,
    require_supported,
)
from service.mcp_server.creating import Wanted, create
from service.mcp_server.tool import CREATES, Call, Json, TrackerTool, define

_OF_DREAM_MACHINE = ("format", "style_ref", "character_ref", "modify_image_ref")
_OF_AGENTS = (*("type", "source", "output_format", "style", "web_search", "layering", "user_id"),)
_OTHERS = {DREAM_MACHINE: "model uni-1", AGENTS: "model photon-1"}
_MOST_REFERENCES = {DREAM_MACHINE: 8, AGENTS: 9}


class WeightedImage(Arguments):
    """An image of the Dream Machine API."""

    url: MediaUrl
    weight: float | None = None


ShortImage = Annotated[
    WeightedImage, WithJsonSchema({"type": "object", "description": "{url, weight}"})
]
"""The same, with a short schema."""


class ImageReference(Reference):
    """An image for either API: Dream Machine knows `url` and `weight`, Agents all but `weight`."""

    weight: float | None = None


class Identity(Arguments):
    """Images of one person."""

    images: Annotated[list[MediaUrl], Field(min_length=1, max_length=4)]


class Layering(Arguments):
    """How an image is split into layers."""

    resolution: Literal["1k", "2k"]


class GenerateImage(CreateArguments):
    """Arguments of `generate_image`."""

    prompt: Prompt
    model: Literal["photon-1", "photon-flash-1", "uni-1", "uni-1-max"] = "photon-1"
    aspect_ratio: AspectRatio | None = None
    image_ref: Annotated[list[ImageReference], Field(max_length=9)] | None = Field(
        None, description="photon: url, weight. uni: one of url, data, generation_id, file_id."
    )
    format: Literal["jpg", "png"] | None = Field(None, description="photon only, as the next 3.")
    style_ref: list[ShortImage] | None = None
    character_ref: Annotated[dict[str, Identity], WithJsonSchema({"type": "object"})] | None = (
        Field(None, description="{identity0: {images: [url]}}")
    )
    modify_image_ref: ShortImage | None = None
    type: Literal["image", "image_edit", "layering"] | None = Field(
        None, description="uni only, as all below."
    )
    source: Annotated[Reference, WithJsonSchema({"type": "object"})] | None = Field(
        None, description="Image to edit or layer, as in image_ref."
    )
    output_format: Literal["png", "jpeg"] | None = None
    style: Literal["auto", "manga"] | None = None
    web_search: bool | None = None
    layering: Annotated[Layering, WithJsonSchema({"type": "object"})] | None = Field(
        None, description="{resolution: 1k or 2k}"
    )
    user_id: str | None = None

    @model_validator(mode="after")
    def _edits_its_source(self) -> Self:
        if self.source and self.type is None and self.model.startswith("uni"):
            self.type = "image_edit"
        return self


async def _generate(call: Call) -> Json:
    wanted = GenerateImage.model_validate(call.arguments)
    upstream = IMAGE_MODELS[wanted.model]
    _check(wanted, upstream)
    body = wanted.given("idempotency_key")
    if upstream == DREAM_MACHINE:
        path, body = "generations/image", {"generation_type": "image", **body}
    else:
        path, body = "generations", {"type": "image", **body}
    return await create(call, Wanted(upstream, path, body, wanted.idempotency_key))


def _check(wanted: GenerateImage, upstream: str) -> None:
    """Check what depends on the model.

    Raises:
        InvalidInput: the model does not take an argument.
    """
    model, others = wanted.model, _OTHERS[upstream]
    least, most = (3, 5000) if upstream == DREAM_MACHINE else (1, 6000)
    require_length(model, wanted.prompt, least, 500 if wanted.type == "layering" else most)
    require_supported(model, "aspect_ratio", wanted.aspect_ratio, ASPECT_RATIOS[upstream], others)
    refuse_given(model, wanted, _OF_DREAM_MACHINE if upstream == AGENTS else _OF_AGENTS, others)
    for number, image in enumerate(wanted.image_ref or []):
        _check_reference(model, upstream, f"image_ref.{number}", image, others)
    if len(wanted.image_ref or []) > _MOST_REFERENCES[upstream]:
        most_images = _MOST_REFERENCES[upstream]
        raise InvalidInput(
            "image_ref", f"image_ref: {model} takes at most {most_images}.", "Leave some out."
        )
    if (wanted.type in ("image_edit", "layering")) != (wanted.source is not None):
        raise InvalidInput(
            "source",
            f"source: {wanted.type or 'image'} {'has none' if wanted.source else 'needs one'}.",
            "Give type image_edit or layering with a source, or neither.",
        )


def _check_reference(
    model: str, upstream: str, field: str, image: ImageReference, others: str
) -> None:
    if upstream == AGENTS:
        refuse_given(model, image, ("weight",), others)
    elif image.url is None or image.media_type is not None:
        raise InvalidInput(
            field, f"{field}: {model} takes only url and weight.", f"Give a url, or use {others}."
        )


TOOLS = [
    TrackerTool(
        define(
            "generate_image",
            "Generate a Luma image",
            "Creates an image from text and reference images, or edits one (photon: "
            "modify_image_ref; uni: source). Costs credits: photon-1 about $0.0073 and "
            "photon-flash-1 $0.0019 per megapixel, uni-1 $0.0404 and uni-1-max $0.10 per image. "
            "Returns at once with `Generation ID` and `State`, before the image is there: then "
            "call wait_for_generation, which has `Image URL` after some seconds. The model decides "
            "which arguments there are; a wrong one is refused before anything is charged.",
            GenerateImage,
            CREATES,
        ),
        _generate,
        "generating image",
    ),
]
