"""What `doctor` finds out about the index of words and the counters."""

import pytest
from pydantic import SecretStr

from service.bootstrap import open_parts
from service.cli.counter_checks import counts
from service.cli.doctor_checks import examine
from service.cli.findings import Level
from service.cli.word_checks import words
from service.config import Settings
from service.simulator import Luma, Plan
from tests.conftest import Clock
from tests.databases import execute


async def test_whether_words_have_an_index(settings: Settings, clock: Clock) -> None:
    async with open_parts(settings, clock) as parts:
        before = await words(settings)
        await parts.word_indexer.index()
        after = await words(settings)
    assert "there is no index of words" in before.message
    assert (after.level, after.message) == (Level.OK, "words are found by an index")


async def test_whether_the_counters_are_right(settings: Settings, clock: Clock, luma: Luma) -> None:
    async with open_parts(settings, clock) as parts:
        await parts.tracker.lookup(luma.create(plan=Plan(0, 0)))
        right = await counts(settings)
        execute(settings.database_url, "UPDATE counters SET value = 7 WHERE name = 'state'")
        wrong = await counts(settings)
    assert right.level is Level.OK
    assert wrong.level is Level.WARNING
    assert "of the states completed differ" in wrong.message


@pytest.mark.postgres
async def test_how_to_get_an_index_that_needs_an_extension(
    settings: Settings, clock: Clock
) -> None:
    async with open_parts(settings, clock):
        found = await words(settings)
    assert found.level is Level.WARNING
    assert "CREATE EXTENSION pg_trgm" in found.message


@pytest.mark.either_database
@pytest.mark.parametrize(
    ("secret", "level"),
    [("x", Level.WARNING), ("k" * 32 + ",short", Level.WARNING), ("k" * 16, Level.OK)],
)
async def test_a_callback_secret_that_can_be_guessed_is_a_warning_that_says_what_to_do(
    settings: Settings, secret: str, level: Level
) -> None:
    keys = tuple(map(SecretStr, secret.split(",")))
    found = await examine(settings.model_copy(update={"callback_secret": keys}))
    [finding] = [each for each in found if each.about == "callback secret"]
    assert finding.level is level
    assert ("openssl rand" in finding.message) is (level is Level.WARNING)
