"""The best that a rate limit allows: a lower bound of the mean delay, and the policy that attains it.

The limit is relaxed: it has to hold on average only, not in each minute. With a price per request
that replaces it (its Lagrange multiplier), generations no longer compete, and dynamic programming
finds for each kind the ages at which to ask that minimize delay plus price. No policy, even one
that knows the distributions exactly, has a smaller mean delay within the limit.
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
    low, high = -4.0, 16.0  # of the price's logarithm
    for _ in range(24):
        middle = (low + high) / 2
        if _demand(math.exp(middle), number) > per_second:
            low = middle
        else:
            high = middle
    plans = [_plan(mix, math.exp(high)) for mix in MIXES]
    delays = sorted(_delays(plans, 4000))
    mean = sum(mix.share * plan.delay for mix, plan in zip(MIXES, plans, strict=True))
    return Best(mean, delays[2000], delays[3800])


def _demand(price: float, number: int) -> float:
    """Return the requests per second at a price: N of them are open for duration and delay."""
    plans = [(mix.share, _plan(mix, price), _surviving(mix)) for mix in MIXES]
    requests = sum(share * plan.requests for share, plan, _ in plans)
    open_for = sum(
        share * (plan.delay + np.trapezoid(surviving, AGES)) for share, plan, surviving in plans
    )
    return float(number * requests / open_for)


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
    slow = [_normal_surviving(mix, factor) for factor in np.linspace(2.05, 5.95, 40)]
    return (1 - SLOWER) * _normal_surviving(mix, 1.0) + SLOWER * np.mean(slow, axis=0)


def _normal_surviving(mix: Mix, factor: float) -> Numbers:
    logs = np.log(np.maximum(AGES, 1e-9) / (mix.median * factor)) / (mix.spread * math.sqrt(2))
    return np.array([math.erfc(each) / 2 for each in logs])


def _delays(plans: list[_Plan], number: int) -> list[float]:
    chance, delays = random.Random(1), list[float]()
    for _ in range(number):
        mix, plan = chance.choices(list(zip(MIXES, plans, strict=True)), [m.share for m in MIXES])[
            0
        ]
        ends, n = drawn(mix, chance), 0
        while AGES[n] < ends and n < len(AGES) - 1:
            n = int(plan.following[n])
        delays.append(float(AGES[n]) - ends)
    return delays
