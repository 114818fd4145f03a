"""The public shape of a generation: its keys, in their order, on every surface.

`service.storage.representation` makes the bytes of it.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

NO_ASSETS: dict[str, str | None] = {"video": None, "image": None, "progress_video": None}

EXAMPLE: dict[str, Any] = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "upstream": "dream_machine",
    "state": "completed",
    "terminal": True,
    "generation_type": "video",
    "operation": "video",
    "model": "ray-2",
    "prompt": "an old lady laughing underwater, wearing a scuba diving suit",
    "created_at": "2026-05-30T12:34:56.236000Z",
    "failure_reason": None,
    "failure_code": None,
    "assets": {
        "video": "https://storage.cdn-luma.com/dream_machine/1f/result.mp4",
        "image": "https://storage.cdn-luma.com/dream_machine/1f/thumb.jpg",
        "progress_video": None,
    },
    "outputs": [],
    "request": {"generation_type": "video", "model": "ray-2", "callback_url": "[redacted]"},
    "parent_id": None,
    "rev": 3,
    "source": "callback",
    "verified": False,
    "gone_at": None,
    "first_seen_at": "2026-05-30T12:34:57.001000Z",
    "updated_at": "2026-05-30T12:35:41.730000Z",
    "finished_at": "2026-05-30T12:35:41.730000Z",
}
INSTANTS = ("created_at", "gone_at", "first_seen_at", "updated_at", "finished_at")


def _as_text(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


Instant = Annotated[
    datetime,
    PlainSerializer(_as_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class GenerationOut(BaseModel):
    """One generation, as the tracker knows it."""

    model_config = ConfigDict(
        from_attributes=True, title="Generation", json_schema_extra={"examples": [EXAMPLE]}
    )

    id: str = Field(description="Luma's id of it.")
    upstream: str = Field(description="Whose it is: dream_machine or agents.")
    state: str = Field(
        description="queued, dreaming or processing, completed, failed; or what Luma says that "
        "we do not know yet; unknown if Luma has not told."
    )
    terminal: bool = Field(description="Whether the state is final.")
    generation_type: str | None = Field(description="video or image.")
    operation: str | None = Field(description="What was asked for: video, image, upscale_video …")
    model: str | None
    prompt: str | None
    created_at: Instant | None = Field(description="By Luma's clock.")
    failure_reason: str | None
    failure_code: str | None
    assets: dict[str, str | None] = Field(
        description="URLs: video, image (for a video, its thumbnail), progress_video."
    )
    outputs: list[dict[str, Any]] = Field(
        description="Agents API: all its outputs, as type, url and layer."
    )
    request: dict[str, Any] | None = Field(description="As Luma echoes it; no callback URL.")
    parent_id: str | None = Field(description="What it was made from, where that is known.")
    rev: int = Field(description="Rises by one on every real change.")
    source: str = Field(description="How we learnt of the last change.")
    verified: bool = Field(description="Whether Luma itself confirmed it; a callback is a claim.")
    gone_at: Instant | None = Field(description="When Luma no longer knew it.")
    first_seen_at: Instant
    updated_at: Instant = Field(description="When `rev` last rose.")
    finished_at: Instant | None = Field(description="When we learnt of the terminal state.")


NAMES = tuple(GenerationOut.model_fields)
