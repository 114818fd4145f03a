"""Compares the schedule of checks with other ways of polling and with the best possible.

Run `python -m benchmarks.schedule`; it takes about half a minute. Pure: the service's own
`domain` decides, on a simulated clock. Prints the table of docs/performance.md.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmarks.bound import best
from benchmarks.polling import (
    LIMIT,
    NOON,
    EveryTenSeconds,
    InTurn,
    Open,
    Policy,
    moment,
    simulate,
)
from service.domain.durations import Estimates, kinds, learnt
from service.domain.request_budget import Purpose, Request
from service.domain.schedule import OpenRow, choose, next_check

_KNOWN = {5: 1000, 50: 1000, 500: 1000}
"""For each number of open generations, how many ends are measured."""


class Schedule(Policy):
    """The service's schedule.

    Args:
        counts: what was learnt before; it is added to.
    """

    def __init__(self, counts: dict[str, Counter[int]]) -> None:
        self._counts = counts
        self._estimates = self._estimated()

    def choose(self, rows: Sequence[Open], now: float, available: int) -> Sequence[Open]:
        if all(each.due > now for each in rows):
            return []
        by_id = {str(n): each for n, each in enumerate(rows)}
        considered = [_open_row(id_, each) for id_, each in by_id.items()]
        per_second = self.rate.per_second
        chosen = choose(considered, moment(now), available, per_second, self._estimates)
        return [by_id[row.id] for row in chosen]

    def schedule(self, each: Open, now: float) -> None:
        due = next_check(each.row, moment(now), 1, self._estimates)
        assert due  # noqa: S101 - it is open
        each.due = (due - NOON).total_seconds()

    def available(self, made: Sequence[Request]) -> int:
        return self.rate.available(Purpose.RECONCILE, made)

    def ended(self, each: Open, now: float) -> None:
        after = each.row._replace(state="completed")
        if ages := learnt(each.row, after, moment(now)):
            bucket = self._estimates.of(after).draw(*ages)
            for kind in kinds(after):
                self._counts[kind][bucket] += 1
            self._estimates = self._estimated()

    def _estimated(self) -> Estimates:
        return Estimates(lambda wanted: {kind: self._counts[kind] for kind in wanted})


def learn(known: int, seed: int) -> dict[str, Counter[int]]:
    """Return what the schedule learns from the first `known` ends, with ten generations open."""
    counts = defaultdict[str, Counter[int]](Counter)
    simulate(Schedule(counts), 10, known, seed)
    return counts


def _open_row(id_: str, each: Open) -> OpenRow:
    values = {name: getattr(each.row, name) for name in OpenRow._fields}
    return OpenRow(**{**values, "id": id_, "next_check_at": moment(each.due)})


def main() -> None:
    """Print the table."""
    random.seed(1)  # it decides in which buckets durations are counted
    print("| open | | best possible | schedule, warm | schedule, cold | in turn | every 10 s |")
    print("|---|---|---|---|---|---|---|")
    for number, known in _KNOWN.items():
        limit = best(number, LIMIT / 60)
        found = [
            simulate(policy, number, known, seed=2)
            for policy in (
                Schedule(learn(400, seed=1)),
                Schedule(defaultdict(Counter)),
                InTurn(),
                EveryTenSeconds(),
            )
        ]
        _print_line(number, "median", limit.median, [each.quantile(0.5) for each in found])
        _print_line(number, "p95", limit.p95, [each.quantile(0.95) for each in found])
        _print_line(number, "mean", limit.mean, [each.mean for each in found])


def _print_line(number: int, name: str, limit: float, found: Sequence[float]) -> None:
    figures = " | ".join(f"{each:.1f} s ({each / limit:.2f} ×)" for each in found)
    print(f"| {number} | {name} | {limit:.1f} s | {figures} |", flush=True)


if __name__ == "__main__":
    main()
