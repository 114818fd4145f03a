"""Response models for statistics."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_EXAMPLE: dict[str, Any] = {
    "totals": {
        "generations": 412,
        "by_state": {"completed": 380, "dreaming": 4, "failed": 28},
        "cost_usd_estimate": 271.4,
        "lookups": 90211,
        "upstream_requests": 811,
    },
    "told_first_by": {"callback": 371, "reconcile": 37},
    "time_to_finish": {"p50": 71.4, "p95": 142.0},
    "failures": [{"reason": "Frame moderation failed", "count": 19}],
    "series": [
        {
            "key": "2026-05-30",
            "generations": 412,
            "completed": 380,
            "failed": 28,
            "cost_usd_estimate": 271.4,
            "p50": 71.4,
            "p95": 142.0,
        }
    ],
    "complete": True,
}


class Totals(BaseModel):
    """Sums over the whole time that was asked for."""

    generations: int = Field(description="Without those that Luma no longer knows.")
    by_state: dict[str, int]
    cost_usd_estimate: float = Field(description="Of those whose price is known.")
    lookups: int = Field(description="Lookups answered, by the day on which they were made.")
    upstream_requests: int = Field(description="Requests to Luma, likewise.")


class Percentiles(BaseModel):
    """Seconds that half, and 95 of 100, took at most, to within 5 %; null if none has ended."""

    p50: float | None
    p95: float | None


class FailureCount(BaseModel):
    """How many failed for one reason."""

    reason: str
    count: int


class SeriesItem(Percentiles):
    """One day, model, upstream or operation."""

    key: str = Field(description="A day in UTC, or the value; empty if Luma did not say.")
    generations: int
    completed: int
    failed: int
    cost_usd_estimate: float


class StatsOut(BaseModel):
    """Statistics of generations, by the time of their creation."""

    model_config = ConfigDict(title="Stats", json_schema_extra={"examples": [_EXAMPLE]})

    totals: Totals
    told_first_by: dict[str, int] = Field(
        description="Ended generations, by what first reported the end: `callback`, `fetch`, …"
    )
    time_to_finish: Percentiles
    failures: list[FailureCount] = Field(description="The most frequent reasons, at most 20.")
    series: list[SeriesItem] = Field(description="At most 400 days, or 100 values.")
    complete: bool = Field(
        description="False for a while after an upgrade, until all generations are counted."
    )
