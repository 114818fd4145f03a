"""What a row found, and how it is held against its target and its floor."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.slices import Comparison, told
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Finding:
    """The figure of a row, and what it was made of."""

    figure: float
    ours: str
    peer: str
    other: str = ""
    """The same by another measure."""
    fault: str = ""
    """What must not be, however good the figure is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    path: str
    against: str
    measure: Callable[[Stage], Finding]
    target: float
    floor: float | None
    unit: str = "×"
    least: bool = True
    """Whether target and floor are the least that the figure may be, or the most."""

    def meets(self, figure: float, bound: float | None) -> bool:
        """Whether a figure is on the good side of a bound."""
        if bound is None:
            return True
        return figure >= bound if self.least else figure <= bound

    def refused(self, finding: Finding) -> str:
        """Why a finding cannot be let pass; empty if it can."""
        if finding.fault:
            return f"{self.name}: {finding.fault}"
        if self.meets(finding.figure, self.floor):
            return ""
        return f"{self.name}: {self.shown(finding.figure)}, wanted {self.bound(self.floor)}"

    def shown(self, figure: float) -> str:
        """A figure with its unit."""
        digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
        return f"{figure:,.{digits}f} {self.unit}"

    def bound(self, bound: float | None) -> str:
        """A bound with its direction."""
        return "" if bound is None else f"{'≥' if self.least else '≤'} {bound:g} {self.unit}"


def by_cpu(compared: Comparison) -> Finding:
    """The same where the server's CPU is all that limits it: by that, which is steadier."""
    found = by_rate(compared)
    if compared.by_cost is None:
        return found
    return replace(found, figure=compared.by_cost, other=f"{found.figure:.2f} × by rate")


def by_rate(compared: Comparison, fault: str = "") -> Finding:
    """How many times as many answers we give as the peer."""
    cost = compared.by_cost
    other = "" if cost is None else f"{cost:.2f} × by CPU"
    return Finding(compared.by_rate, told(compared.ours), told(compared.peer), other, fault)


def by_cost(compared: Comparison) -> Finding:
    """How many of the peer's answers one of ours costs."""
    rate = 1 / compared.by_rate
    cost = 1 / compared.by_cost if compared.by_cost else rate
    return Finding(cost, told(compared.ours), told(compared.peer), f"{rate:.2f} × by rate")
