"""The index of words has everything after a round, however much there was."""

import asyncio

from service.bootstrap import open_parts
from service.config import Settings
from service.simulator import Luma, Plan
from service.tracking.callback_tokens import Grant
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.databases import copy_generation, one

MANY = 450  # more than two batches


async def test_a_round_indexes_what_was_there_and_then_what_has_changed(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    url = settings.database_url
    async with open_parts(settings, clock) as parts:
        await parts.tracker.lookup(luma.create(plan=Plan(0, 0)))
        copy_generation(url, MANY)
        await parts.word_indexer.index()
        before = one(url, "SELECT count(*) FROM texts")

        told = [life_of(f"new-{n}", "completed")[0] for n in range(MANY)]
        receive = parts.tracker.deliveries.receive
        await asyncio.gather(*(receive(body, Grant()) for body in told))
        await parts.word_indexer.index()
        after = one(url, "SELECT count(*) FROM texts")
    assert (before, after) == (MANY + 1, 2 * MANY + 1)
