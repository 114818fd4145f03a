"""How long generations of a kind usually take: the median of those that were completed lately."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from types import SimpleNamespace
from typing import Any

from service.cli.backend.contract import Backend, Json
from service.domain.durations import ASSUMED_MEDIANS, kinds
from service.errors import TrackerError

_SAMPLE = 50
_ENOUGH = 3  # completed ones of the same resolution and duration
_LONGEST = 3600.0  # seconds; Luma's limit: what took longer was heard of late


class Usual:
    """Usual durations in seconds; each kind is asked for once.

    Args:
        backend: where the completed generations are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._samples: dict[tuple[Any, ...], list[Json]] = {}
        self._asking = set[asyncio.Task[None]]()
        self.known: dict[str, float] = {}
        """By the id of a generation, as far as `begin` has found out."""

    def begin(self, generation: Json) -> None:
        """Find out how long an open generation takes, in the background."""
        if generation["terminal"] or generation["id"] in self.known:
            return
        asking = asyncio.create_task(self._remember(generation), name="usual")
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _remember(self, generation: Json) -> None:
        self.known[generation["id"]] = await self.of(generation)

    async def of(self, generation: Json) -> float:
        """Return how long generations like this one take; without any, an assumption."""
        sample = await self._sample(generation)
        like = _kind(generation)
        found = [d for each in sample if _kind(each) == like and (d := duration(each))]
        if len(found) < _ENOUGH:
            found = [d for each in sample if (d := duration(each))]
        if found:
            return median(found)
        return ASSUMED_MEDIANS.get(generation["generation_type"] or "", ASSUMED_MEDIANS["video"])

    async def _sample(self, generation: Json) -> list[Json]:
        names = ("upstream", "operation", "model")
        key = tuple(generation[name] for name in names)
        if key not in self._samples:
            given = {name: [generation[name]] for name in names if generation[name]}
            wanted: dict[str, Any] = {**given, "state": ["completed"], "limit": _SAMPLE}
            try:
                self._samples[key] = (await self._backend.generations(wanted)).items
            except TrackerError:  # an estimate is no reason to fail
                return []
        return self._samples[key]


def duration(generation: Json) -> float | None:
    """Return how long a completed generation took; None if that is not known."""
    if generation["source"] == "backfill" or not generation["finished_at"]:
        return None
    seconds = age(generation, datetime.fromisoformat(generation["finished_at"]))
    return seconds if 0 < seconds <= _LONGEST else None


def age(generation: Json, at: datetime) -> float:
    """Return the seconds since a generation was created."""
    since = datetime.fromisoformat(generation["created_at"] or generation["first_seen_at"])
    return max(0.0, (at - since).total_seconds())


def _kind(generation: Json) -> Sequence[str]:
    """Return the kinds of a generation down to the ordered resolution and duration."""
    return kinds(SimpleNamespace(**generation))
