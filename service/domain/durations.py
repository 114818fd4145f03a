"""How long generations of a kind take: what was learnt, and what is assumed until then. Pure.

A kind is an operation, a model, and what was ordered: `agents/video/ray-3.2/1080p/10s`. For each
kind, counts of the durations seen are kept in buckets whose bounds grow by 15 %. A kind with few
counts borrows from the model, the model from the operation, and that from a built-in assumption:

    kind ──few counts──► model ──few counts──► operation ──few counts──► built-in

What is learnt is an interval: a generation ended between the last answer that it was open, and the
answer that it had ended. All times are ages, in seconds since the generation was created.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import accumulate, pairwise
from operator import mul
from typing import Any, Protocol

from service.domain.generation import Generation, is_polled

Counts = Mapping[str, Mapping[int, int]]
"""For each kind and bucket, how many generations took about that long."""

_GROWTH = 1.15
_BUCKETS = 60  # the last one contains one hour, Luma's limit for a generation
_BOUNDS = (0.0, *(_GROWTH**n for n in range(_BUCKETS)))  # of the buckets, in seconds
_WIDTHS = tuple(high - low for low, high in pairwise(_BOUNDS))
_LONGEST = 3600.0  # a longer duration tells more about an outage than about the generation
_SMOOTHING = tuple(math.comb(6, n) / 64 for n in range(7))  # of a count, over seven buckets
_BORROWED = 8.0  # what the more general kind weighs, in counts
ASSUMED_MEDIANS = {"image": 20.0, "video": 70.0}
_ASSUMED_SPREAD = 0.7  # standard deviation of the logarithm
_LEAST_HAZARD = 1 / _LONGEST  # per second; an old generation may still end at any time


class Timed(Protocol):
    """The fields from which a duration is estimated; a `Generation` has them."""

    @property
    def upstream(self) -> str: ...
    @property
    def generation_type(self) -> str | None: ...
    @property
    def operation(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def request(self) -> Mapping[str, Any] | None: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def first_seen_at(self) -> datetime: ...


def kinds(generation: Timed) -> tuple[str, ...]:
    """Return the kinds that a generation belongs to, the most general first."""
    order = generation.request or {}
    video = order.get("video")
    order = video if isinstance(video, Mapping) else order
    operation = generation.operation or generation.generation_type
    of_operation = f"{generation.upstream}/{_text(operation)}"
    of_model = f"{of_operation}/{_text(generation.model)}"
    ordered = [text for name in ("resolution", "duration") if (text := _text(order.get(name)))]
    return of_operation, of_model, *(["/".join([of_model, *ordered])] if ordered else [])


def age(generation: Timed, at: datetime) -> float:
    """Return how old a generation was, in seconds; 0 if the clocks disagree."""
    created_at = generation.created_at or generation.first_seen_at
    return max(0.0, (at - min(created_at, generation.first_seen_at)).total_seconds())


class Durations:
    """The distribution of the durations of a kind.

    Args:
        weights: one per bucket, on any scale.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights
        least, total = sum(weights) * 1e-6, sum(weights)
        surviving = [max(total - each, least) for each in accumulate(weights, initial=0.0)]
        self._hazards: list[float] = [
            max(math.log(before / after) / width, _LEAST_HAZARD)
            for (before, after), width in zip(pairwise(surviving), _WIDTHS, strict=True)
        ]
        self._cumulative: list[float] = list(
            accumulate(map(mul, self._hazards, _WIDTHS), initial=0.0)
        )

    def hazard(self, at: float) -> float:
        """Return the rate, per second, at which generations of that age end."""
        return self._hazards[_bucket(at)]

    def cumulative_hazard(self, at: float) -> float:
        """Return the hazard summed up to an age: minus the logarithm of the share still open."""
        bucket = _bucket(at)
        return self._cumulative[bucket] + self._hazards[bucket] * (at - _BOUNDS[bucket])

    def draw(self, after: float, until: float) -> int:
        """Return a bucket for a generation that ended between two ages.

        It is drawn from this distribution. The middle of a wide interval would shift the
        distribution, because the width depends on when requests are made, not on the duration.
        """
        buckets = range(_bucket(after), _bucket(until) + 1)
        weights = [self._weights[each] for each in buckets]
        return random.choices(buckets, weights)[0]  # noqa: S311 - not a secret


class Estimates:
    """Estimates of durations, each made once.

    Args:
        load: returns the counts of some kinds.
    """

    def __init__(self, load: Callable[[Sequence[str]], Counts]) -> None:
        self._load = load
        self._made: dict[tuple[str, ...], Durations] = {}

    def of(self, generation: Timed) -> Durations:
        """Return how long generations like this one take."""
        wanted = kinds(generation)
        if wanted not in self._made:
            self._made[wanted] = _estimate(wanted, generation.generation_type, self._load(wanted))
        return self._made[wanted]


ASSUMED = Estimates(lambda _kinds: {})
"""Estimates from the built-in assumption alone."""


def learnt(
    before: Generation | None, after: Generation, at: datetime
) -> tuple[float, float] | None:
    """Return the ages between which a generation ended; None if nothing can be learnt.

    Only confirmed ends count, and only of generations that were seen open before. One that was
    already old when its end was seen tells nothing.

    Args:
        before: the row before the answer.
        after: the row after it.
        at: when the answer was received.
    """
    if not is_polled(after.upstream) or not (after.terminal and after.verified):
        return None
    until = age(after, at)
    if before is None or before.terminal or until > _LONGEST:
        return None
    return min(age(after, before.heard_at), until), until


def _estimate(wanted: Sequence[str], generation_type: str | None, counts: Counts) -> Durations:
    weights = _assumed(generation_type if generation_type in ASSUMED_MEDIANS else "video")
    for kind in wanted:
        scale = _BORROWED / sum(weights)
        smooth = _smoothed(counts.get(kind, {}))
        weights = tuple(seen + scale * each for seen, each in zip(smooth, weights, strict=True))
    return Durations(weights)


def _smoothed(counts: Mapping[int, int]) -> list[float]:
    """Spread each count over its neighbours: few counts say little about a single bucket."""
    smooth = [0.0] * _BUCKETS
    for bucket, count in counts.items():
        for n, share in enumerate(_SMOOTHING, start=bucket - len(_SMOOTHING) // 2):
            smooth[min(max(n, 0), _BUCKETS - 1)] += count * share
    return smooth


@cache
def _assumed(generation_type: str) -> tuple[float, ...]:
    """Return the built-in weights: a log-normal distribution, wide because nothing is known."""
    median = ASSUMED_MEDIANS[generation_type]
    ended = [0.0, *(_normal(math.log(each / median) / _ASSUMED_SPREAD) for each in _BOUNDS[1:])]
    return tuple(high - low + 1e-6 for low, high in pairwise(ended))


def _normal(deviations: float) -> float:
    return (1 + math.erf(deviations / math.sqrt(2))) / 2


def _bucket(at: float) -> int:
    if at < 1:
        return 0
    return min(int(math.log(at) / math.log(_GROWTH)) + 1, _BUCKETS - 1)


def _text(value: object) -> str:
    return value[:40] if isinstance(value, str) else ""
