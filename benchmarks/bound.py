"""The best that a rate limit allows: a lower bound of the mean delay, and a policy that attains it.

The limit is relaxed: it has to hold on average only, not in each minute. With a price per request
that replaces it (its Lagrange multiplier), generations no longer compete, and dynamic programming
finds for each kind the ages at which to ask that minimize delay plus price. No policy, even one
that knows the distributions exactly, has a smaller mean delay within the limit.

Each generation needs one request at least. If the rate does not allow more, the bound is Little's
law: N generations are open for N / rate seconds on average, of which the duration is a part.
"""

import math
import random
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.polling import MIXES, SLOWER, Mix, drawn

Numbers = npt.NDArray[np.float64]

AGES: Numbers = np.unique(
    np.concatenate([np.arange(0, 300, 0.5), np.arange(300, 1500, 4.0), np.arange(1500, 6001, 30.0)])
)
"""The ages, in seconds, at which a request may be made."""
_DRAWS = 10_000


class Best(NamedTuple):
    """The best that is possible."""

    mean: float
    """No mean delay is smaller, in seconds."""
    median: float
    """Of the policy that attains that mean."""
    p95: float


class _Plan(NamedTuple):
    delay: float
    requests: float
    following: npt.NDArray[np.int64]
    """For the index of each age, the index of the age at which to ask next."""


def best(number: int, per_second: float) -> Best:
    """Return the best for `number` generations that are open at any time."""
    low, high = -4.0, 12.0  # of the price's logarithm
    if _demand(math.exp(high), number) > per_second:
        return _once(number / per_second)
    for _ in range(24):
        middle = (low + high) / 2
        if _demand(math.exp(middle), number) > per_second:
            low = middle
        else:
            high = middle
    plans = [_plan(mix, math.exp(high)) for mix in MIXES]
    mean = sum(mix.share * plan.delay for mix, plan in zip(MIXES, plans, strict=True))
    return _best(mean, _delays(plans))


def _once(open_for: float) -> Best:
    """Return the best if each generation is asked about once, at the same age."""
    mean = open_for - sum(mix.share * _mean(mix) for mix in MIXES)
    return _best(mean, [open_for - ends for _, ends in _draws()])


def _best(mean: float, delays: list[float]) -> Best:
    delays.sort()
    return Best(mean, delays[len(delays) // 2], delays[len(delays) * 95 // 100])


def _demand(price: float, number: int) -> float:
    """Return the requests per second at a price: N of them are open for duration and delay."""
    plans = [(mix.share, _plan(mix, price), _mean(mix)) for mix in MIXES]
    requests = sum(share * plan.requests for share, plan, _ in plans)
    open_for = sum(share * (plan.delay + mean) for share, plan, mean in plans)
    return number * requests / open_for


def _plan(mix: Mix, price: float) -> _Plan:
    """Find the ages at which to ask about one generation, from the last age backwards."""
    surviving, last = _surviving(mix), len(AGES) - 1
    areas = np.concatenate([[0.0], np.cumsum((surviving[1:] + surviving[:-1]) / 2 * np.diff(AGES))])
    cost, requests = np.zeros(last + 1), np.zeros(last + 1)
    following = np.full(last + 1, last)
    for n in range(last - 1, -1, -1):
        if surviving[n] < 1e-9:
            cost[n], requests[n], following[n] = price, 1.0, n + 1
            continue
        ratio = surviving[n + 1 :] / surviving[n]
        delay = AGES[n + 1 :] - AGES[n] - (areas[n + 1 :] - areas[n]) / surviving[n]
        costs = price + delay + ratio * cost[n + 1 :]
        at = int(costs.argmin())
        cost[n], following[n] = costs[at], n + 1 + at
        requests[n] = 1 + ratio[at] * requests[n + 1 + at]
    return _Plan(float(cost[0] - price * requests[0]), float(requests[0]), following)


@cache
def _surviving(mix: Mix) -> Numbers:
    """Return the share of generations that are still open at each age."""
    factors = [1.0, *np.linspace(2.05, 5.95, 40)]
    weights = [1 - SLOWER, *[SLOWER / 40] * 40]
    logs = np.log(np.maximum(AGES, 1e-9) / mix.median)
    shares = [
        weight * math.erfc((log - math.log(factor)) / (mix.spread * math.sqrt(2))) / 2
        for factor, weight in zip(factors, weights, strict=True)
        for log in logs
    ]
    by_factor = np.array(shares).reshape(len(factors), len(AGES))
    return np.asarray(by_factor.sum(axis=0), dtype=np.float64)


def _mean(mix: Mix) -> float:
    """Return the mean duration, in seconds."""
    return float(np.trapezoid(_surviving(mix), AGES))


def _draws() -> list[tuple[int, float]]:
    """Return durations, each with the index of its mix."""
    chance = random.Random(1)
    mixes = chance.choices(range(len(MIXES)), [mix.share for mix in MIXES], k=_DRAWS)
    return [(n, drawn(MIXES[n], chance)) for n in mixes]


def _delays(plans: list[_Plan]) -> list[float]:
    delays = list[float]()
    for mix, ends in _draws():
        n = 0
        while AGES[n] < ends and n < len(AGES) - 1:
            n = int(plans[mix].following[n])
        delays.append(float(AGES[n]) - ends)
    return delays
