"""Generations as each API represents them, with Luma's keys, key order and nulls."""

from datetime import UTC, datetime
from typing import Any

from service.simulator.assets import AssetUrls
from service.simulator.world import Generation

IMAGE_OPERATIONS = frozenset({"image", "reframe_image", "image_edit", "layering"})
"""The operations of either API that produce images; all others produce videos."""


def answer(generation: Generation, now: datetime, urls: AssetUrls) -> dict[str, Any]:
    """Return what `GET /generations/{id}` of its upstream answers at `now`."""
    if generation.upstream == "agents":
        return agents_answer(generation, now, urls)
    return dream_machine_answer(generation, urls)


def dream_machine_answer(generation: Generation, urls: AssetUrls) -> dict[str, Any]:
    """Return the Generation object of Dream Machine v1, which is also the body of a callback."""
    return {
        "id": generation.id,
        "generation_type": _medium(generation),
        "state": generation.state,
        "failure_reason": _failure_reason(generation),
        "created_at": f"{generation.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "assets": _assets(generation, urls),
        "model": generation.model,
        "request": generation.request,
    }


def agents_answer(generation: Generation, now: datetime, urls: AssetUrls) -> dict[str, Any]:
    """Return the Generation object of the Agents API; every call signs its URLs again."""
    failed = generation.state == "failed"
    return {
        "id": generation.id,
        "type": generation.operation,
        "state": generation.state,
        "model": generation.model,
        "created_at": f"{generation.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "output": _output(generation, now, urls),
        "failure_reason": _failure_reason(generation),
        "failure_code": (generation.plan.failure_code or "generation_failed") if failed else None,
    }


def _medium(generation: Generation) -> str:
    return "image" if generation.operation in IMAGE_OPERATIONS else "video"


def _failure_reason(generation: Generation) -> str | None:
    if generation.state != "failed":
        return None
    usual = "Advanced prompt moderation failed" if _medium(generation) == "image" else "Job failed"
    return generation.plan.failure_reason or usual


def _assets(generation: Generation, urls: AssetUrls) -> dict[str, str | None] | None:
    if generation.state == "completed":
        return _finished_assets(generation, urls)
    if generation.state == "dreaming" and generation.plan.progress_video:
        return {"video": None, "image": None, "progress_video": urls.progress(generation)}
    return None


def _finished_assets(generation: Generation, urls: AssetUrls) -> dict[str, str | None]:
    if _medium(generation) == "image":
        return {"video": None, "image": urls.image(generation), "progress_video": None}
    video, image = urls.video(generation), urls.thumbnail(generation)
    return {"video": video, "image": image, "progress_video": None}


def _output(generation: Generation, now: datetime, urls: AssetUrls) -> list[dict[str, Any]]:
    if generation.state != "completed":
        return []
    if generation.operation == "layering":
        return [_layer(generation, index, now, urls) for index in range(len(_LAYERS))]
    medium = _medium(generation)
    picture = generation.request.get("output_format") or "png"
    name = f"output.{picture}" if medium == "image" else "output.mp4"
    return [{"type": medium, "url": urls.presigned(generation, name, now)}]


_LAYERS = ("subject", "background")


def _layer(generation: Generation, index: int, now: datetime, urls: AssetUrls) -> dict[str, Any]:
    label = _LAYERS[index]
    layer = {
        "index": index,
        "label": label,
        "description": f"the {label}, complete",
        "alpha_hint": "none" if label == _LAYERS[-1] else "soft",
    }
    url = urls.presigned(generation, f"layer_{index}.png", now)
    return {"type": "image", "url": url, "layer": layer}
