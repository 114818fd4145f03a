"""Rows of an older version are rewritten in batches, once each, while the service answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from service.bootstrap import open_service
from service.cli.schema import revisions
from service.config import Settings
from service.domain.generation import Outcome
from service.storage.engine import Database, open_database
from service.storage.rewrites import Rewrite, Step, documents
from service.tracking.callback_tokens import CallbackTokens, Grant
from service.tracking.rewriter import Rewriter
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.databases import execute, one
from tests.older import AT, fill

NEW = '{"video":"https://v"}'
DONE = "SELECT done, finished_at IS NOT NULL FROM rewrites WHERE name = ?"

FINISHED = "SELECT count(*) FROM rewrites WHERE name = ? AND finished_at IS NOT NULL"


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with open_database(settings.database_url) as opened:
        yield opened


def seen_by(noted: list[str]) -> Step:
    """Return a step that rewrites a column, and records in `noted` the rows that it processed."""

    def step(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
        find = "SELECT id FROM generations WHERE id > :after ORDER BY id LIMIT :most"
        bound = {"after": after or "", "most": limit}
        ids = list(connection.execute(text(find), bound).scalars())
        noted.extend(ids)
        change = text("UPDATE generations SET model = 'new' WHERE id = :id")
        if ids:
            connection.execute(change, [{"id": each} for each in ids])
        return (ids[-1] if len(ids) == limit else None), len(ids)

    return step


@pytest.mark.sqlite
async def test_documents_of_older_versions_are_put_in_the_words_in_which_they_are_sent(
    settings: Settings, database: Database, clock: Clock
) -> None:
    fill(settings.database_url, 450)
    url = settings.database_url
    execute(url, "UPDATE generations SET assets = 'none', request = NULL WHERE id = 'old-7'")

    await Rewriter(database, clock).rewrite()

    find = "SELECT assets, outputs, request FROM generations WHERE id = ?"
    assert execute(url, find, "old-1") == [(NEW, "[]", '{"p":"ü, 1e+16"}')]
    assert execute(url, find, "old-7") == [("none", "[]", None)], "what is no document stays"
    assert one(url, "SELECT count(*) FROM generations WHERE assets = ?", NEW) == 449
    assert execute(url, DONE, "documents") == [(450, 1)]


async def test_a_document_that_is_not_rewritten_yet_reads_the_same(
    settings: Settings, clock: Clock
) -> None:
    fill(settings.database_url, 1)
    async with open_service(settings, clock) as parts:
        before = json.loads((await parts.tracker.lookup("old-1")).representation.body)
        assert before["assets"]["video"] == "https://v"
        assert before["request"] == {"p": "ü, 1e+16"}


async def test_rows_are_rewritten_while_callbacks_are_answered(
    settings: Settings, clock: Clock
) -> None:
    """By the background loop of the service."""
    fill(settings.database_url, 3000)
    answered = 0
    async with open_service(settings, clock) as parts, asyncio.timeout(30):
        while not one(settings.database_url, FINISHED, "documents"):
            [body] = life_of(f"now-{answered}", "dreaming")
            assert (
                await parts.tracker.deliveries.receive(body, Grant())
            ).outcome is Outcome.APPLIED
            answered += 1
    assert answered > 0


async def test_who_is_stopped_goes_on_where_the_last_batch_ended(
    settings: Settings, database: Database, clock: Clock
) -> None:
    fill(settings.database_url, 1000)
    noted: list[str] = []
    step = seen_by(noted)

    def cursed(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
        answer = step(connection, after, limit)
        if len(noted) >= 600:
            raise ValueError("the third batch fails, and nothing of it is kept")
        return answer

    with pytest.raises(ValueError, match="third batch"):
        await Rewriter(database, clock, {"models": cursed}).rewrite()
    assert one(settings.database_url, "SELECT done FROM rewrites") == 400
    assert one(settings.database_url, "SELECT count(*) FROM generations WHERE model = 'new'") == 400

    noted.clear()
    await Rewriter(database, clock, {"models": step}).rewrite()

    assert len(noted) == 600
    assert (
        one(settings.database_url, "SELECT count(*) FROM generations WHERE model = 'new'") == 1000
    )
    assert execute(settings.database_url, DONE, "models") == [(1000, True)]


async def test_what_is_finished_is_never_begun_again(
    settings: Settings, database: Database, clock: Clock
) -> None:
    fill(settings.database_url, 10)
    noted: list[str] = []
    steps = {"models": seen_by(noted)}
    for _ in range(3):
        await Rewriter(database, clock, steps).rewrite()
    assert len(noted) == 10


async def test_of_several_instances_one_at_a_time_rewrites_and_no_row_twice(
    settings: Settings, database: Database, clock: Clock
) -> None:
    fill(settings.database_url, 1500)
    noted: list[str] = []
    steps = {"models": seen_by(noted)}
    async with open_database(settings.database_url) as other:
        rewriters = [Rewriter(each, clock, steps) for each in (database, other)]
        while len(noted) < 1500:
            await asyncio.gather(*(rewriter.rewrite() for rewriter in rewriters))
    assert len(set(noted)) == len(noted) == 1500


async def test_progress_is_told_every_few_seconds_and_at_the_end(
    settings: Settings, database: Database, clock: Clock
) -> None:
    fill(settings.database_url, 1000)
    step = seen_by([])

    def slow(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
        clock.turn(3)
        return step(connection, after, limit)

    with capture_logs() as told:
        await Rewriter(database, clock, {"models": slow}).rewrite()

    assert [(line["event"], line["rows"]) for line in told] == [
        ("rewrite_progress", 400),
        ("rewrite_progress", 800),
        ("rewrite_finished", 1000),
    ]


async def test_nothing_is_said_where_there_was_nothing_to_rewrite(
    settings: Settings, database: Database, clock: Clock
) -> None:
    with capture_logs() as told:
        await Rewriter(database, clock).rewrite()
    assert told == []


async def test_the_command_line_tells_how_far_it_has_come(settings: Settings) -> None:
    assert (await revisions(settings)).rewrites[0] == Rewrite("documents", 0, None)
    begun = "INSERT INTO rewrites (name, position, done) VALUES ('documents', 'old-5', 5)"
    execute(settings.database_url, begun)
    assert (await revisions(settings)).rewrites[0] == Rewrite("documents", 5, None)
    execute(settings.database_url, f"UPDATE rewrites SET finished_at = {AT}")  # noqa: S608
    finished = Rewrite("documents", 5, datetime(2026, 5, 30, 12, tzinfo=UTC))
    assert (await revisions(settings)).rewrites[0] == finished


@pytest.mark.sqlite
async def test_documents_that_are_in_order_are_not_written_again(
    settings: Settings, database: Database
) -> None:
    fill(settings.database_url, 5, assets=NEW)
    execute(settings.database_url, "UPDATE generations SET request = NULL")
    forbid = "CREATE TRIGGER t BEFORE UPDATE ON generations BEGIN SELECT RAISE(FAIL, 'no'); END"
    execute(settings.database_url, forbid)
    assert await database.write(documents, None, 10) == (None, 5)


_OLD_BODY = """INSERT INTO deliveries (id, digest, body, received_at, outcome, duplicates)
    VALUES (?, ?, ?, '2026-05-30 12:00:00.000000', 'applied', 0)"""


async def test_bodies_that_older_versions_kept_lose_their_tokens_and_nothing_else(
    settings: Settings, database: Database, clock: Clock
) -> None:
    """Duplicates are recognized by the digest of the original body, so it must not change."""
    token = CallbackTokens(["secret"]).reusable()
    body = '{{"id":"g{}", "u":"https://t.example/{}"}}'.format
    url = settings.database_url
    for n in range(45):
        execute(url, _OLD_BODY, f"d{n:02}", f"digest {n}", body(n, token).encode())
    execute(url, _OLD_BODY, "e", "digest e", b"\xff\x00 no JSON")

    await Rewriter(database, clock).rewrite()

    kept = execute(url, "SELECT id, digest, body FROM deliveries ORDER BY id")
    assert [(id_, digest, bytes(told)) for id_, digest, told in kept] == [
        *((f"d{n:02}", f"digest {n}", body(n, "[redacted]").encode()) for n in range(45)),
        ("e", "digest e", b"\xff\x00 no JSON"),
    ]
    assert one(url, "SELECT done FROM rewrites WHERE name = 'bodies'") == 46
