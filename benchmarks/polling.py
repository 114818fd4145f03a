"""Simulates how soon each way of polling knows that a generation has ended, without sockets.

N generations are open at any time: one that is known to have ended is replaced by a new one. A
policy decides which is asked about, the rate limit is the service's own, and a request takes no
time. Every policy sees the same clock, which advances by the reconciler's interval.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from service.domain.generation import Generation, Source
from service.domain.request_budget import Purpose, Rate, Request

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
STEP = 0.25  # seconds, the reconciler's interval
LIMIT = 30  # requests per minute
SLOWER = 0.03  # of the generations take two to six times as long


class Mix(NamedTuple):
    """A kind of generation: its durations are log-normal, with outliers."""

    operation: str
    model: str
    duration: str | None
    median: float
    """In seconds."""
    spread: float
    """The standard deviation of the logarithm."""
    share: float


MIXES = (
    Mix("image", "uni-1", None, 18.0, 0.35, 0.4),
    Mix("video", "ray-3.2", "5s", 60.0, 0.25, 0.35),
    Mix("video", "ray-3.2", "10s", 110.0, 0.3, 0.25),
)


@dataclass(slots=True)
class Open:
    """An open generation of the simulation; times are in seconds since the beginning."""

    row: Generation
    ends: float
    due: float = 0.0


@dataclass(slots=True)
class Found:
    """The delays between the end of a generation and the answer that showed it, in seconds."""

    delays: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Return a quantile of the delays."""
        return sorted(self.delays)[int(share * (len(self.delays) - 1))]

    @property
    def mean(self) -> float:
        """The mean delay."""
        return sum(self.delays) / len(self.delays)


class Policy(ABC):
    """Decides which generations are asked about."""

    rate = Rate(LIMIT, 60.0, polled=True)

    @abstractmethod
    def choose(self, rows: Sequence[Open], now: float, available: int) -> Sequence[Open]:
        """Return the generations to ask about now, at most `available`."""

    @abstractmethod
    def schedule(self, each: Open, now: float) -> None:
        """Set the due time of a generation that is new, or that is still open."""

    def available(self, made: Sequence[Request]) -> int:
        """Return how many requests may be made."""
        return self.rate.left(made)

    def ended(self, each: Open, now: float) -> None:  # noqa: B027 - most take none
        """Take note that an answer showed the end of a generation."""


class InTurn(Policy):
    """Asks about all open generations in turn, at the rate of the limit."""

    def choose(self, rows: Sequence[Open], now: float, available: int) -> Sequence[Open]:
        if now % (60 / LIMIT) >= STEP:
            return []
        return sorted(rows, key=lambda each: each.due)[:1]

    def schedule(self, each: Open, now: float) -> None:
        each.due = now


class EveryTenSeconds(Policy):
    """Asks about each generation every ten seconds, and pauses for 12 s after a 429."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    def choose(self, rows: Sequence[Open], now: float, available: int) -> Sequence[Open]:
        due = sorted((r for r in rows if r.due <= now), key=lambda each: each.due)
        if now < self._paused_until or not due:
            return []
        if len(due) > available:
            self._paused_until = now + 12
        return due[:available]

    def schedule(self, each: Open, now: float) -> None:
        each.due = now + 10

    def available(self, made: Sequence[Request]) -> int:
        return max(self.rate.left(made), 0)


def simulate(policy: Policy, number: int, known: int, seed: int) -> Found:
    """Keep `number` generations open until the ends of `known` are known.

    The first `number` ends that are found are not counted, because all began together.
    """
    chance, found, now = random.Random(seed), Found(), 0.0
    rows = [_new(chance, now) for _ in range(number)]
    made = list[float]()
    for each in rows:
        policy.schedule(each, now)
    while len(found.delays) < known + number:
        now += STEP
        made = [at for at in made if now - at < policy.rate.window]
        available = policy.available([Request(now - at, Purpose.RECONCILE) for at in made])
        for each in policy.choose(rows, now, available) if available else ():
            made.append(now)
            if each.ends <= now:
                found.delays.append(now - each.ends)
                policy.ended(each, now)
                rows.remove(each)
                each = _new(chance, now)  # noqa: PLW2901 - takes its place
                rows.append(each)
            else:
                each.row = each.row._replace(heard_at=moment(now))
            policy.schedule(each, now)
    del found.delays[:number]
    return found


def moment(seconds: float) -> datetime:
    """Return the time of a moment of the simulation."""
    return NOON + timedelta(seconds=seconds)


def _new(chance: random.Random, now: float) -> Open:
    mix = chance.choices(MIXES, [each.share for each in MIXES])[0]
    return Open(_row(mix, now), now + drawn(mix, chance))


def drawn(mix: Mix, chance: random.Random) -> float:
    """Return a random duration, in seconds."""
    duration = mix.median * math.exp(chance.gauss(0, mix.spread))
    return duration * (chance.uniform(2, 6) if chance.random() < SLOWER else 1)


def _row(mix: Mix, now: float) -> Generation:
    request = {"video": {"duration": mix.duration}} if mix.duration else {}
    return Generation(
        id="",
        upstream="agents",
        state="processing",
        generation_type=mix.operation,
        operation=mix.operation,
        model=mix.model,
        prompt=None,
        created_at=moment(now),
        failure_reason=None,
        failure_code=None,
        assets={},
        outputs=(),
        assets_expire_at=None,
        request=request,
        rev=1,
        source=Source.SUBMIT,
        verified=True,
        first_seen_at=moment(now),
        updated_at=moment(now),
        heard_at=moment(now),
        finished_at=None,
    )
