"""Copies give way to requests."""

from service.tracking.archive.throttle import Throttle
from tests.waiting import until_async


def burnt() -> bool:
    """Work for some milliseconds, as requests do."""
    return bool(sum(range(1_000_000)))


async def test_copies_pause_while_the_event_loop_is_busy() -> None:
    with Throttle() as throttle:
        for _ in range(2):
            await until_async(lambda: burnt() and throttle.seconds, 30)
            await until_async(lambda: not throttle.seconds, 30)
