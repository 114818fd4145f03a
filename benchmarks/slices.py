"""Slices of load, ours and the peer's in turn, so that whatever else the machine does hits both."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.processes import Server


@dataclass(frozen=True, slots=True)
class Slice:
    """What one server did in a moment in which it alone was loaded."""

    answers: int
    seconds: float
    cpu: float | None
    """Seconds of its CPU; None where nobody tells."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    @property
    def cost(self) -> float | None:
        """Seconds of CPU for each answer."""
        return None if self.cpu is None else self.cpu / max(self.answers, 1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The slices of both, each of ours beside the peer's of the same moment."""

    ours: list[Slice]
    peer: list[Slice]

    @property
    def by_rate(self) -> float:
        """How many times as many answers we give."""
        return median(a.rate / b.rate for a, b in zip(self.ours, self.peer, strict=True))

    @property
    def by_cost(self) -> float | None:
        """How many times as much CPU the peer takes for an answer."""
        ratios = [
            b.cost / a.cost
            for a, b in zip(self.ours, self.peer, strict=True)
            if a.cost and b.cost is not None
        ]
        return median(ratios) if ratios else None


def interleave(
    ours: Callable[[], Slice], peer: Callable[[], Slice], times: int, *, warm: bool = True
) -> Comparison:
    """That many slices of each, in turn; who goes first changes."""
    if warm:
        ours(), peer()  # what is made at the first request is not made again
    mine, others = list[Slice](), list[Slice]()
    for n in range(times):
        for load, slices in ((ours, mine), (peer, others))[:: -1 if n % 2 else 1]:
            slices.append(load())
    return Comparison(mine, others)


def costing(server: Server, load: Callable[[], tuple[int, float]]) -> Slice:
    """A slice of a load that tells how many answers came in how many seconds."""
    before = server.cpu()
    answers, seconds = load()
    after = server.cpu()
    cpu = None if before is None or after is None else after - before
    return Slice(answers, seconds, cpu)


def told(slices: list[Slice]) -> str:
    """Medians for people: answers per second, and CPU for each."""
    rate = f"{median(s.rate for s in slices):,.0f}/s"
    costs = [s.cost for s in slices if s.cost is not None]
    return f"{rate} · {median(costs) * 1e6:,.0f} µs" if costs else rate
