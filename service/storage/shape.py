"""The public JSON schema of a generation: its keys and their order, on every surface.

`service.storage.representation` builds the bytes.
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
    "cost_usd_estimate": 0.71,
    "archived": None,
    "rev": 3,
    "source": "callback",
    "verified": False,
    "gone_at": None,
    "first_seen_at": "2026-05-30T12:34:57.001000Z",
    "updated_at": "2026-05-30T12:35:41.730000Z",
    "finished_at": "2026-05-30T12:35:41.730000Z",
}
INSTANTS = ("created_at", "gone_at", "first_seen_at", "updated_at", "finished_at")


def as_text(at: datetime) -> str:
    """Return a time as it is shown: in UTC, with microseconds."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


Instant = Annotated[
    datetime,
    PlainSerializer(as_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class GenerationOut(BaseModel):
    """A generation, as the tracker stores it."""

    model_config = ConfigDict(
        from_attributes=True, title="Generation", json_schema_extra={"examples": [EXAMPLE]}
    )

    id: str = Field(description="The id that Luma gave the generation.")
    upstream: str = Field(
        description="The Luma API that the generation belongs to: `dream_machine` or `agents`."
    )
    state: str = Field(
        description="The state that Luma reported: `queued`, `dreaming`, `processing`, "
        "`completed`, `failed`, or a value that the tracker does not know. `unknown` until "
        "Luma reports one."
    )
    terminal: bool = Field(description="Whether the state is final: `completed` or `failed`.")
    generation_type: str | None = Field(description="The type of the result: `video` or `image`.")
    operation: str | None = Field(
        description="The requested operation, for example `video`, `image` or `upscale_video`."
    )
    model: str | None = Field(description="The model, as Luma reports it.")
    prompt: str | None = Field(
        description="The prompt. The Agents API does not report it; it is known for generations "
        "that were created through the gateway."
    )
    created_at: Instant | None = Field(
        description="When the generation was created, according to Luma."
    )
    failure_reason: str | None = Field(description="Why it failed, in Luma's words.")
    failure_code: str | None = Field(
        description="Luma's code for the failure. Only the Agents API reports one."
    )
    assets: dict[str, str | None] = Field(
        description="The URLs of the result. `video`, `image` (for a video, its thumbnail) and "
        "`progress_video` are always present and null if there is none."
    )
    outputs: list[dict[str, Any]] = Field(
        description="All outputs of an Agents API generation, each with `type`, `url` and, for "
        "layers, `layer`. Empty for the Dream Machine API."
    )
    request: dict[str, Any] | None = Field(
        description="The request as Luma echoes it. A callback URL in it is `[redacted]`. The "
        "Agents API does not echo it; then it is the request that was sent through the gateway."
    )
    parent_id: str | None = Field(
        description="The generation that this one was made from. Luma does not report it, so "
        "it is null unless the generation was created through the gateway."
    )
    cost_usd_estimate: float | None = Field(
        description="The price in US dollars, estimated from Luma's price list. 0 if Luma refunds "
        "it; null if it is unknown."
    )
    archived: dict[str, Any] | None = Field(
        description="The assets that the tracker keeps, by name: `bytes`, `sha256`, "
        "`content_type`, and `at`, when each was copied. Null if none is kept."
    )
    rev: int = Field(
        description="The revision of this record. It increases by one on every change, except "
        "when only the signatures of presigned URLs change."
    )
    source: str = Field(
        description="How the tracker received the last change: `submit`, `callback`, `fetch`, "
        "`reconcile` or `backfill`."
    )
    verified: bool = Field(
        description="Whether an authenticated answer from Luma has confirmed this record. It is "
        "false while the record rests on a callback alone."
    )
    gone_at: Instant | None = Field(
        description="When Luma confirmed that it no longer knows the generation, or null."
    )
    first_seen_at: Instant = Field(description="When the tracker first received a report of it.")
    updated_at: Instant = Field(description="When `rev` last increased.")
    finished_at: Instant | None = Field(
        description="When the tracker received the terminal state, or null."
    )


NAMES = tuple(GenerationOut.model_fields)
