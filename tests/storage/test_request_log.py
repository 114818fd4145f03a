"""Processes that share a database share one request budget."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.config import Settings
from service.domain.request_budget import Purpose, Rate
from service.luma.rate_limiter import RateLimiter
from service.storage import migrating
from service.storage.engine import Database, open_database
from service.storage.request_log import RequestLog
from tests.databases import execute, one

PROCESSES = 3


@pytest.fixture
async def databases(settings: Settings) -> AsyncIterator[list[Database]]:
    """The same database, opened once per simulated process."""
    opened = [open_database(settings.database_url) for _ in range(PROCESSES)]
    await opened[0].exclusively(migrating.upgrade)
    for database in opened:
        await database.__aenter__()
    yield opened
    for database in opened:
        await database.__aexit__()


def budgets(databases: list[Database], rate: Rate) -> list[RateLimiter]:
    return [RateLimiter(rate, log=RequestLog(database, "agents")) for database in databases]


async def spend_all(budget: RateLimiter, purpose: Purpose) -> int:
    """Make requests for a purpose until the budget is used up, and return their number."""
    spent = 0
    while await budget.acquire(purpose, timeout=0) == 0:
        spent += 1
    return spent


@pytest.mark.parametrize(
    ("purpose", "share"), [(Purpose.READ, 16), (Purpose.VERIFY, 14), (Purpose.RECONCILE, 14)]
)
async def test_all_together_spend_what_one_might(
    databases: list[Database], purpose: Purpose, share: int
) -> None:
    sharing = budgets(databases, Rate(20, 3600))
    spent = await asyncio.gather(*(spend_all(budget, purpose) for budget in sharing))
    assert sum(spent) == share


async def test_what_others_have_spent_shows_after_a_look(databases: list[Database]) -> None:
    one_, other, _ = budgets(databases, Rate(5, 3600))
    await spend_all(one_, Purpose.READ)
    assert other.available(Purpose.READ) == 5
    await other.refresh()
    assert other.available(Purpose.READ) == 0
    assert 3590 < other.seconds_until_available(Purpose.READ) <= 3600


async def test_room_comes_back_for_all_when_the_period_is_over(databases: list[Database]) -> None:
    one_, other, _ = budgets(databases, Rate(2, 0.4))
    assert await spend_all(one_, Purpose.READ) == 2
    assert await other.acquire(Purpose.READ, timeout=5) == 0


async def test_upstreams_have_a_budget_each(databases: list[Database]) -> None:
    agents = RateLimiter(Rate(1, 3600), log=RequestLog(databases[0], "agents"))
    dream_machine = RateLimiter(Rate(1, 3600), log=RequestLog(databases[1], "dream_machine"))
    assert await agents.acquire(Purpose.READ, timeout=0) == 0
    assert await dream_machine.acquire(Purpose.READ, timeout=0) == 0


async def test_only_the_period_is_kept_and_a_clock_that_went_back_does_no_harm(
    databases: list[Database], settings: Settings
) -> None:
    url = settings.database_url
    for at in (0.0, 99_999_999_999.0):
        execute(url, "INSERT INTO requests (upstream, at) VALUES ('agents', ?)", at)
    [budget, *_] = budgets(databases, Rate(1, 3600))
    assert await budget.acquire(Purpose.READ, timeout=0) == 0
    assert one(url, "SELECT count(*) FROM requests") == 1


async def test_requests_are_read_only_where_they_are_many(databases: list[Database]) -> None:
    log, rate = RequestLog(databases[0], "agents"), Rate(20, 3600)
    seen = [await log.add(Purpose.READ, rate) for _ in range(17)]
    assert [recorded for recorded, _ in seen] == [True] * 16 + [False]
    assert [recent is None for _, recent in seen] == [True] * 12 + [False] * 5
    assert len(seen[-1][1] or ()) == 16


async def test_requests_that_no_longer_count_are_not_deleted_each_time(
    databases: list[Database], settings: Settings
) -> None:
    log, rate = RequestLog(databases[0], "agents"), Rate(20, 3600)
    await log.add(Purpose.READ, rate)
    execute(settings.database_url, "UPDATE requests SET at = 0")
    assert await log.add(Purpose.READ, rate) == (True, None)
    assert len(await log.recent(rate)) == 1
    assert one(settings.database_url, "SELECT count(*) FROM requests") == 2
    await RequestLog(databases[1], "agents").add(Purpose.READ, rate)
    assert one(settings.database_url, "SELECT count(*) FROM requests") == 2
