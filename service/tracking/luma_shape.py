"""A stored generation in the form in which Luma itself shows it.

Usually that is what Luma last reported. For rows without that, it is composed from the columns.
"""

from typing import Any

from pydantic_core import to_json

from service.domain.upstreams import AGENTS
from service.storage.representation import Representation


def luma_body(found: Representation) -> bytes:
    """Return the JSON body with which Luma would show the generation."""
    if found.luma_body:
        return found.luma_body
    shown = found.document()
    return to_json(_agents(shown) if found.upstream == AGENTS else _dream_machine(shown))


def _dream_machine(shown: dict[str, Any]) -> dict[str, Any]:
    request = shown["request"] and {**shown["request"], "callback_url": None}
    assets = shown["assets"] if any(shown["assets"].values()) else None
    names = "id", "generation_type", "state", "failure_reason", "created_at", "model"
    return {**{name: shown[name] for name in names}, "assets": assets, "request": request}


def _agents(shown: dict[str, Any]) -> dict[str, Any]:
    names = "id", "state", "model", "created_at", "failure_reason", "failure_code"
    return {
        **{name: shown[name] for name in names},
        "type": shown["operation"],
        "output": shown["outputs"],
    }
