"""Metrics: what Prometheus reads, and what admission control counts."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.domain.request_budget import Purpose, Rate
from service.errors import (
    NotFound,
    TrackerError,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.luma.admission import AdmissionControl

NAMES = {
    "callbacks": ["outcome"],
    "lookups": ["served"],
    "upstream_requests": ["upstream", "purpose", "result"],
    "repairs": [],
    "overruled": [],
    "breaker_open": ["upstream"],
    "budget_left": ["upstream"],
    "inbox_lag_seconds": [],
    "refusals": ["reason"],
    "pruned": ["table"],
    "commit_seconds": [],
    "commit_writes": [],
}


def _families() -> dict[str, str]:
    """The names of our metrics in the exposition, and their documentation."""
    text = generate_latest(REGISTRY).decode()
    return {
        family.name.removeprefix("luma_tracker_"): family.documentation
        for family in text_string_to_metric_families(text)
        if family.name.startswith("luma_tracker_")
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_is_exposed_and_explained(name: str) -> None:
    assert _families()[name].endswith(".")


def test_labels_are_few_and_bounded() -> None:
    """No label holds an id, a path or a token: those grow without bound, or reveal secrets."""
    counted = {
        metrics.CALLBACKS: ("outcome",),
        metrics.LOOKUPS: ("served",),
        metrics.REQUESTS: ("upstream", "purpose", "result"),
        metrics.BREAKER_OPEN: ("upstream",),
        metrics.BUDGET_LEFT: ("upstream",),
        metrics.REFUSALS: ("reason",),
        metrics.PRUNED: ("table",),
    }
    for metric, labels in counted.items():
        assert metric._labelnames == labels


def _requests(upstream: str, purpose: str, result: str) -> float:
    labels = {"upstream": upstream, "purpose": purpose, "result": result}
    return REGISTRY.get_sample_value("luma_tracker_upstream_requests_total", labels) or 0


def _gauge(name: str, upstream: str) -> float | None:
    return REGISTRY.get_sample_value(f"luma_tracker_{name}", {"upstream": upstream})


@pytest.fixture
def names() -> Iterator[str]:
    """The name of an upstream that no other test uses."""
    yield "of-test-metrics"
    for gauge in (metrics.BREAKER_OPEN, metrics.BUDGET_LEFT):
        gauge.remove("of-test-metrics")


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (NotFound("no"), "notfound"),
        (UpstreamRefused("x", "no"), "refused"),
        (UpstreamNonsense("x", "what"), "nonsense"),
        (UpstreamUnavailable("x", "later"), "unavailable"),
    ],
)
@pytest.mark.parametrize("purpose", list(Purpose))
async def test_a_request_is_counted_once_by_purpose_and_result(
    names: str, purpose: Purpose, error: Exception | None, result: str
) -> None:
    admission = AdmissionControl(names, Rate(10, 60))
    before = _requests(names, purpose.name.lower(), result)
    with suppress(TrackerError):
        async with admission.admit(purpose):
            if error:
                raise error
    assert _requests(names, purpose.name.lower(), result) == before + 1
    assert _gauge("budget_left", names) == 9


async def test_a_request_that_was_called_off_is_not_counted_as_answered(names: str) -> None:
    admission, begun = AdmissionControl(names, Rate(10, 60)), asyncio.Event()
    before = _requests(names, "read", "ok")

    async def ask() -> None:
        async with admission.admit(Purpose.READ):
            begun.set()
            await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    await begun.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert _requests(names, "read", "ok") == before


async def test_what_was_not_asked_is_not_counted_and_the_breaker_shows(names: str) -> None:
    admission = AdmissionControl(names, Rate(100, 60))
    told = UpstreamUnavailable(names, "slow down", retry_after=30, from_upstream=True)
    assert _gauge("breaker_open", names) == 0
    with pytest.raises(UpstreamUnavailable):
        async with admission.admit(Purpose.READ):
            raise told
    before = _requests(names, "read", "unavailable")
    with pytest.raises(UpstreamUnavailable, match="paused after failures"):
        async with admission.admit(Purpose.READ):
            raise AssertionError("it was let through")
    assert _requests(names, "read", "unavailable") == before
    assert _gauge("breaker_open", names) == 1
    assert _gauge("budget_left", names) == 99
