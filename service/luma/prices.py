"""Estimates what a generation costs, from Luma's price lists in `prices.json`.

The price is unknown (None) if it depends on something that neither the generation nor its parent
tells:

- Photon images, reframes and Ray 1.6 are priced per megapixel, and their size is not reported.
- Videos of an aspect ratio other than 16:9 and 9:16 have another number of pixels, which is not
  reported either. A 9:16 video is a 16:9 video turned by 90 degrees.
- Modified and reframed videos are priced by the length of their source, which is a URL.
- HDR videos and layers have no price in the list.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.domain.generation import Generation
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.luma.reading import mapping

_PRICES: Mapping[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text())
_OF_AGENTS, _OF_DREAM_MACHINE = _PRICES[AGENTS], _PRICES[DREAM_MACHINE]

DATES: Mapping[str, str] = {upstream: prices["date"] for upstream, prices in _PRICES.items()}
"""The date of each upstream's price list."""

_DURATION = re.compile(r"(\d{1,4})s")
_SAME_NUMBER_OF_PIXELS = ("16:9", "9:16")
_DECIMALS = 4


def estimate(generation: Generation, parent: Generation | None = None) -> float | None:
    """Return the price of a generation in US dollars; None if it is unknown.

    Args:
        generation: the row.
        parent: the row of the generation that it was made from, if that is stored. The prices of
            upscales, audio and edits depend on its length.
    """
    failed = generation.state == "failed"
    if generation.upstream == DREAM_MACHINE:
        price = 0.0 if failed else _dream_machine_price(generation, parent)
    elif generation.upstream == AGENTS:
        price = _agents_refund(generation) if failed else _agents_price(generation, parent)
    else:
        price = None
    return price if price is None else round(price, _DECIMALS)


def _dream_machine_price(generation: Generation, parent: Generation | None) -> float | None:
    request = mapping(generation.request)
    if generation.operation == "video":
        if (request.get("aspect_ratio") or "16:9") not in _SAME_NUMBER_OF_PIXELS:
            return None
        wanted = generation.model, request.get("resolution"), request.get("duration")
        return _found(_OF_DREAM_MACHINE["video"], *wanted)
    if generation.operation == "upscale_video" and parent:
        before = mapping(parent.request).get("resolution")
        rate = _found(_OF_DREAM_MACHINE["upscale_per_second"], before, request.get("resolution"))
        return _times(rate, _seconds(parent))
    if generation.operation == "add_audio" and parent:
        return _times(_OF_DREAM_MACHINE["audio_per_second"], _seconds(parent))
    return None


def _agents_price(generation: Generation, parent: Generation | None) -> float | None:
    request = mapping(generation.request)
    if generation.operation in ("image", "image_edit"):
        price = _found(_OF_AGENTS[generation.operation], generation.model)
        refs = request.get("image_ref")
        extra = _OF_AGENTS["per_image_ref"] * (len(refs) if isinstance(refs, list) else 0)
        return None if price is None else price + extra
    video = mapping(request.get("video"))
    if generation.operation not in ("video", "video_edit") or video.get("hdr"):
        return None
    duration = video.get("duration")
    if generation.operation == "video_edit":  # as long as its source
        duration = f"{_seconds(parent) if parent else None}s"
    elif _extends(video):
        duration = "5s"  # Luma charges for one block
    wanted = generation.model, video.get("resolution"), duration
    return _found(_OF_AGENTS[generation.operation], *wanted)


def _agents_refund(generation: Generation) -> float | None:
    """Return 0 if Luma refunds the failure.

    `budget_exhausted` may be charged in part, and nothing is documented about the other codes.
    """
    return 0.0 if generation.failure_code in _OF_AGENTS["refunded_failures"] else None


def _seconds(generation: Generation) -> int | None:
    """Return the length of a generated video; None if it is unknown, as with extended videos."""
    request = mapping(generation.request)
    video = mapping(request.get("video")) if generation.upstream == AGENTS else request
    duration = _DURATION.fullmatch(str(video.get("duration")))
    if generation.operation != "video" or duration is None or _extends(video):
        return None
    return int(duration[1])


def _extends(video: Mapping[str, Any]) -> bool:
    """Whether a video continues another generation."""
    keyframes = mapping(video.get("keyframes"))
    names = ("start_frame", "end_frame")
    frames = [*map(mapping, keyframes.values()), *(mapping(video.get(name)) for name in names)]
    return any(frame.get("type") == "generation" or frame.get("generation_id") for frame in frames)


def _times(rate: float | None, seconds: int | None) -> float | None:
    return None if rate is None or seconds is None else rate * seconds


def _found(prices: Any, *names: object) -> float | None:
    """Return the price under these names, one per level of a table."""
    for name in names:
        prices = prices.get(name) if isinstance(prices, dict) and isinstance(name, str) else None
    return prices if isinstance(prices, float) else None
