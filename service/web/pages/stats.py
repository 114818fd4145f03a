"""`/stats`: how many generations, how long they took, what they cost, and why they failed."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple
from zlib import crc32

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from service.tracking.stats import By
from service.tracking.stats_schema import SeriesItem, StatsOut
from service.web.pages.page import PageRoute, show
from service.web.pages.paths import path_with
from service.web.parameters import StatsParameters, TheTracker

_RANGES = {"-7d": "7 days", "-30d": "30 days", "-90d": "90 days", "-365d": "A year"}
_SHOWN = 160  # characters of a reason; a link with all of it might be longer than a query
_BYS: tuple[By, ...] = ("day", "model", "operation", "upstream")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Bar(NamedTuple):
    """One item of the series as a bar; its lengths are shares of the longest, in percent."""

    item: SeriesItem
    completed: int
    failed: int
    other: int
    href: str
    """The list of these generations."""


@router.get("/stats")
async def show_stats(
    request: Request, parameters: Annotated[StatsParameters, Query()], tracker: TheTracker
) -> Response:
    """Show the statistics."""
    since = parameters.since or "-30d"
    after = await tracker.history.newest()  # before reading, so that no change is missed
    stats = await tracker.stats.read(since, parameters.by)
    given: dict[str, Sequence[str]] = {"since": [since], "by": [parameters.by]}
    return show(
        request,
        "stats.html",
        title="Stats",
        stats=stats,
        bars=_bars(stats, parameters.by, since),
        by=parameters.by,
        bys=_BYS,
        since=since,
        ranges=_RANGES,
        link=lambda name, value: path_with("/stats", **(given | {name: [value]})),
        failed_link=lambda reason: path_with(
            "/", q=[f'state:failed "{_escaped(reason[:_SHOWN])}"']
        ),
        told_share=_told_share(stats),
        saved=stats.totals.lookups - stats.totals.upstream_requests,
        json_url=path_with("/v1/stats", **given),
        live_after=after,
        rev=crc32(stats.model_dump_json().encode()),
    )


def _bars(stats: StatsOut, by: By, since: str) -> list[Bar]:
    longest = max((item.generations for item in stats.series), default=0) or 1
    return [_bar(item, by, since, longest) for item in stats.series]


def _bar(item: SeriesItem, by: By, since: str, longest: int) -> Bar:
    other = max(item.generations - item.completed - item.failed, 0)
    href = path_with("/", q=[_query(item.key, by, since)])
    completed, failed, rest = (
        round(100 * count / longest) for count in (item.completed, item.failed, other)
    )
    return Bar(item, completed, failed, rest, href)


def _query(key: str, by: By, since: str) -> str:
    """Return the query for the generations of a bar."""
    if by == "day":
        return f"after:{key}T00:00:00Z before:{key}T23:59:59.999999Z"
    return f'{by}:"{_escaped(key)}" after:{since}' if key else f"after:{since}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


def _told_share(stats: StatsOut) -> int | None:
    """Return how many of 100 ends a callback told first; None: nothing has ended."""
    total = sum(stats.told_first_by.values())
    return round(100 * stats.told_first_by.get("callback", 0) / total) if total else None
