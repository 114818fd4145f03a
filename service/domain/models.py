"""Luma's models: the API that has each, and what it makes. Pure.

The lists are those of Luma's documentation, read on 2026-11-22. A model that is not in them may
exist: whoever checks names against them must leave a way to send it.
"""

from collections.abc import Mapping

from service.domain.upstreams import AGENTS, DREAM_MACHINE

VIDEO_MODELS: Mapping[str, str] = {
    "ray-1-6": DREAM_MACHINE,
    "ray-2": DREAM_MACHINE,
    "ray-flash-2": DREAM_MACHINE,
    "ray-3.2": AGENTS,
}
"""The upstream of each model that makes videos."""
IMAGE_MODELS: Mapping[str, str] = {
    "photon-1": DREAM_MACHINE,
    "photon-flash-1": DREAM_MACHINE,
    "uni-1": AGENTS,
    "uni-1-max": AGENTS,
}
"""The upstream of each model that makes images."""
MODELS: Mapping[str, str] = {**VIDEO_MODELS, **IMAGE_MODELS}
ASPECT_RATIOS: Mapping[str, tuple[str, ...]] = {
    DREAM_MACHINE: ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"),
    AGENTS: (
        *("3:1", "2:1", "21:9", "16:9", "4:3", "3:2", "1:1"),
        *("3:4", "2:3", "9:16", "1:2", "1:3"),
    ),
}
"""Those of each upstream."""
