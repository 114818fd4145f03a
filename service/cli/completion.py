"""What shells complete: ids from the store, and the names of states, models and outcomes.

A shell waits for this at each press of Tab. It asks nobody but the store, starts nothing, and
is silent if anything fails.
"""

from collections.abc import Iterable, Iterator

from service.domain.generation import KNOWN_STATES, Outcome
from service.domain.models import ASPECT_RATIOS, MODELS
from service.domain.text import one_line
from service.domain.upstreams import AGENTS, DREAM_MACHINE

_MOST = 50
_MOST_OVER_HTTP = 200
_PATIENCE = 1.0  # seconds for a running service
_SHOWN = 40  # characters of a prompt

Completion = tuple[str, str]
"""A value, and what it is."""


def complete_states(incomplete: str) -> list[str]:
    """Complete a state."""
    return [state for state in KNOWN_STATES if state.startswith(incomplete)]


def complete_upstreams(incomplete: str) -> list[str]:
    """Complete an upstream."""
    return [name for name in (DREAM_MACHINE, AGENTS) if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[Completion]:
    """Complete a model."""
    return [(name, upstream) for name, upstream in MODELS.items() if name.startswith(incomplete)]


def complete_aspect_ratios(incomplete: str) -> list[str]:
    """Complete an aspect ratio."""
    return [ratio for ratio in ASPECT_RATIOS[DREAM_MACHINE] if ratio.startswith(incomplete)]


def complete_outcomes(incomplete: str) -> list[str]:
    """Complete the outcome of a delivery."""
    return [outcome.value for outcome in Outcome if outcome.value.startswith(incomplete)]


def complete_ids(incomplete: str) -> list[Completion]:
    """Complete the id of a stored generation; the newest come first."""
    try:
        found = [*_stored(incomplete)]
    except Exception:  # noqa: BLE001 - an error would be printed into the line being typed
        return []
    return [(id_, one_line(f"{state} {prompt or ''}"[:_SHOWN])) for id_, state, prompt in found]


def _stored(incomplete: str) -> Iterable[tuple[str, str, str | None]]:
    from service.config import load_settings

    settings = load_settings()
    if settings.url:
        token = settings.token.get_secret_value() if settings.token else ""
        return _of_service(settings.url, token, incomplete)
    if settings.on_server:  # a connection takes longer than anyone waits for a Tab
        return []
    from service.storage.recent import recent

    return recent(settings.database_path, incomplete, _MOST)


def _of_service(url: str, token: str, incomplete: str) -> Iterator[tuple[str, str, str | None]]:
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    parameters = {"limit": _MOST_OVER_HTTP}
    address = f"{url}/v1/generations"
    answer = httpx.get(address, headers=headers, params=parameters, timeout=_PATIENCE)
    for item in answer.json()["items"]:
        if item["id"].startswith(incomplete):
            yield item["id"], item["state"], item["prompt"]
