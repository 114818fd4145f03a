"""Which answers have reached their callers is written down a moment later, for several at once."""

import pytest
from prometheus_client import REGISTRY

from service.config import Settings
from service.simulator import Luma
from tests.conftest import Clock
from tests.databases import on_postgres, one
from tests.tracking.creating.test_creates import create, opened
from tests.waiting import until_async

DELIVERED = "SELECT count(*) FROM submissions WHERE delivered"


@pytest.fixture(autouse=True)
def _no_callbacks(luma: Luma) -> None:
    luma.deliver_callbacks = False


def commits() -> float:
    return REGISTRY.get_sample_value("luma_tracker_commit_writes_count") or 0.0


async def test_answers_of_a_moment_are_written_down_together(
    settings: Settings, clock: Clock
) -> None:
    async with opened(settings, clock) as parts:
        made = [(await create(parts))[0] for _ in range(3)]
        before = commits()
        for each in made:
            await parts.gateway.creates.mark_delivered(each.id)
        await until_async(lambda: one(settings.database_url, DELIVERED) == 3)
        if not on_postgres():
            assert commits() == before + 1


async def test_what_is_not_yet_written_down_at_the_end_is_written_then(
    settings: Settings, clock: Clock
) -> None:
    async with opened(settings, clock) as parts:
        submission, _ = await create(parts)
        await parts.gateway.creates.mark_delivered(submission.id)
        assert one(settings.database_url, DELIVERED) == 0
    assert one(settings.database_url, DELIVERED) == 1
