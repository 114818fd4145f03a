"""The writer: queued writes share a commit, and each caller gets the result of its own write."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from service.errors import StoreUnavailable
from service.storage.engine.sqlite import Sqlite
from service.storage.engine.sqlite_connections import make_engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the database."""
    return tmp_path / "some.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Sqlite]:
    """A database with one table of numbers."""
    async with Sqlite(f"sqlite:///{path}") as opened:
        await opened.write(lambda c: c.execute(text("CREATE TABLE n (n INTEGER PRIMARY KEY)")))
        yield opened


def put(connection: Connection, number: int) -> int:
    """Write a number."""
    connection.execute(text("INSERT INTO n VALUES (:n)"), {"n": number})
    return number


def numbers(connection: Connection) -> list[int]:
    """Return the numbers that were written."""
    return [int(row[0]) for row in connection.execute(text("SELECT n FROM n ORDER BY n"))]


@contextmanager
def counting(engine: Engine) -> Iterator[list[None]]:
    """Yield a list that grows by one element with each commit."""
    commits: list[None] = []

    def note(_connection: Connection) -> None:
        commits.append(None)

    event.listen(engine, "commit", note)
    yield commits
    event.remove(engine, "commit", note)


class BlockingWrite:
    """A write that blocks the writer until it is released, so that other writes queue behind it."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._released = threading.Event()

    def run(self, _connection: Connection) -> None:
        self._started.set()
        assert self._released.wait(20)

    async def started(self) -> None:
        assert await asyncio.to_thread(self._started.wait, 20)

    def release(self) -> None:
        self._released.set()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_write_answers_what_its_function_returned(database: Sqlite) -> None:
    assert await database.write(put, 7) == 7
    assert await database.read(numbers) == [7]


async def test_what_was_answered_is_on_disk(database: Sqlite, path: Path) -> None:
    await database.write(put, 1)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT n FROM n").fetchall() == [(1,)]


async def test_everything_that_is_queued_shares_one_commit(database: Sqlite) -> None:
    blocking = BlockingWrite()
    with counting(database.engine) as commits:
        first = asyncio.create_task(database.write(blocking.run))
        await blocking.started()
        rest = [asyncio.create_task(database.write(put, n)) for n in range(200)]
        await asyncio.sleep(0)  # all of them are queued now
        blocking.release()
        assert await asyncio.gather(first, *rest) == [None, *range(200)]
    assert len(commits) == 2
    assert await database.read(numbers) == list(range(200))


async def test_many_who_write_again_and_again_come_to_share_every_commit(
    database: Sqlite, path: Path
) -> None:
    pauses = random.Random(1)

    async def write_again_and_again(patient: Sqlite, writer: int) -> None:
        for n in range(20):
            await patient.write(put, writer * 100 + n)
            await asyncio.sleep(pauses.uniform(0, 0.002))  # like remote clients

    async with Sqlite(f"sqlite:///{path}", commit_delay=1) as patient:
        with counting(patient.engine) as commits:
            await asyncio.gather(*(write_again_and_again(patient, n) for n in range(40)))
    assert len(await database.read(numbers)) == 800
    assert len(commits) < 25, "without the delay there would be about 60 small commits"


async def test_who_waits_for_others_that_do_not_come_is_not_forgotten(database: Sqlite) -> None:
    await asyncio.gather(*(database.write(put, n) for n in range(40)))
    assert await asyncio.wait_for(database.write(put, 40), 5) == 40


async def test_a_commit_is_shared_by_512_at_most(database: Sqlite) -> None:
    blocking = BlockingWrite()
    with counting(database.engine) as commits:
        first = asyncio.create_task(database.write(blocking.run))
        await blocking.started()
        rest = [asyncio.create_task(database.write(put, n)) for n in range(513)]
        await asyncio.sleep(0)
        blocking.release()
        await asyncio.gather(first, *rest)
    assert len(commits) == 3


async def test_writes_are_made_in_the_order_in_which_they_came(database: Sqlite) -> None:
    seen: list[int] = []

    def note(_connection: Connection, number: int) -> None:
        seen.append(number)

    await asyncio.gather(*(database.write(note, n) for n in range(100)))
    assert seen == list(range(100))


async def test_a_write_that_raises_undoes_only_itself(database: Sqlite) -> None:
    def half(connection: Connection) -> None:
        put(connection, 100)
        raise LookupError("no more")

    blocking = BlockingWrite()
    with counting(database.engine) as commits:
        first = asyncio.create_task(database.write(blocking.run))
        await blocking.started()
        rest = [
            asyncio.create_task(database.write(fn, *given))
            for fn, given in ((put, (1,)), (half, ()), (put, (1,)), (put, (2,)))
        ]
        await asyncio.sleep(0)
        blocking.release()
        one, broken, again, two = await asyncio.gather(*rest, return_exceptions=True)
        await first
    assert len(commits) == 2, "they did share a commit"
    assert (one, two) == (1, 2)
    assert isinstance(broken, LookupError)
    assert isinstance(again, IntegrityError)
    assert await database.read(numbers) == [1, 2]


async def test_a_commit_that_fails_fails_for_all_who_shared_it(database: Sqlite) -> None:
    await database.write(
        lambda c: c.execute(
            text("CREATE TABLE child (n INTEGER REFERENCES n DEFERRABLE INITIALLY DEFERRED)")
        )
    )

    def orphan(connection: Connection) -> str:
        connection.execute(text("INSERT INTO child VALUES (99)"))  # detected at the commit
        return "all is well"

    blocking = BlockingWrite()
    first = asyncio.create_task(database.write(blocking.run))
    await blocking.started()
    rest = [
        asyncio.create_task(write)
        for write in (database.write(put, 1), database.write(orphan), database.write(put, 2))
    ]
    await asyncio.sleep(0)
    blocking.release()
    answers = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [StoreUnavailable] * 3
    assert await database.read(numbers) == []
    assert await database.write(put, 3) == 3, "and the writer goes on"


async def test_a_locked_database_fails_all_before_luma_gives_up_and_then_recovers(
    database: Sqlite, path: Path
) -> None:
    loop = asyncio.get_running_loop()
    with capture_logs() as said, locked(path):
        began = loop.time()
        async with asyncio.timeout(5):  # the time that Luma waits for an answer to a callback
            answers = await asyncio.gather(
                *(database.write(put, n) for n in range(3)), return_exceptions=True
            )
        assert loop.time() - began > 1, "a short wait for another writer is no failure"
        assert await database.read(numbers) == [], "reading goes on meanwhile"
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert "locked" in str(answers[0])
    assert {"event": "database_failed", "reason": "database is locked"}.items() <= said[0].items()
    assert await database.write(put, 4) == 4
    assert await database.read(numbers) == [4]


async def test_a_write_that_waited_behind_another_fails_no_later(
    database: Sqlite, path: Path
) -> None:
    with locked(path):
        first = asyncio.create_task(database.write(put, 1))
        await asyncio.sleep(2)
        async with asyncio.timeout(5):  # the time that Luma waits for an answer to a callback
            with pytest.raises(StoreUnavailable, match="locked"):
                await database.write(put, 2)
        with pytest.raises(StoreUnavailable, match="locked"):
            await first
    with locked(path):
        write = asyncio.create_task(database.write(put, 3))
        await asyncio.wait([write], timeout=0.2)
        assert not write.done(), "the next has all its time"
    assert await write == 3


async def test_a_lock_that_ends_in_time_is_only_a_delay(database: Sqlite, path: Path) -> None:
    with locked(path):
        write = asyncio.create_task(database.write(put, 1))
        await asyncio.wait([write], timeout=0.2)
        assert not write.done()
    assert await write == 1


async def test_what_the_database_cannot_do_is_unavailable(database: Sqlite) -> None:
    def lost(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM not_there"))

    for attempt in (database.read(lost), database.write(lost)):
        with pytest.raises(StoreUnavailable, match="not_there"):
            await attempt
    assert await database.write(put, 1) == 1


async def test_a_full_queue_is_said_at_once_and_drains(database: Sqlite) -> None:
    blocking = BlockingWrite()
    first = asyncio.create_task(database.write(blocking.run))
    await blocking.started()
    rest = [asyncio.create_task(database.write(lambda _: None)) for _ in range(10_000)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="10000 writes are waiting"):
        await database.write(put, 1)
    blocking.release()
    await asyncio.gather(first, *rest)
    assert await database.write(put, 2) == 2
    assert await database.read(numbers) == [2]


async def test_a_caller_who_leaves_does_not_take_the_others_along(database: Sqlite) -> None:
    blocking = BlockingWrite()
    first = asyncio.create_task(database.write(blocking.run))
    await blocking.started()
    leaver = asyncio.create_task(database.write(put, 1))
    stayer = asyncio.create_task(database.write(put, 2))
    await asyncio.sleep(0)
    leaver.cancel()
    blocking.release()
    await first
    assert await stayer == 2
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_a_read_sees_one_moment(database: Sqlite, path: Path) -> None:
    def twice(connection: Connection) -> tuple[list[int], list[int]]:
        before = numbers(connection)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("INSERT INTO n VALUES (1)")
        return before, numbers(connection)

    assert await database.read(twice) == ([], [])
    assert await database.read(numbers) == [1]


async def test_reads_run_beside_one_another_and_beside_a_write(database: Sqlite) -> None:
    blocking = BlockingWrite()
    write = asyncio.create_task(database.write(blocking.run))
    await blocking.started()
    together = threading.Barrier(4)
    async with asyncio.timeout(20):
        await asyncio.gather(*(database.read(lambda _: together.wait(15)) for _ in range(4)))
    blocking.release()
    await write


async def test_what_a_read_raises_comes_out(database: Sqlite) -> None:
    def broken(_connection: Connection) -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await database.read(broken)


async def test_it_says_when_anybody_has_committed(database: Sqlite, path: Path) -> None:
    await database.changed()  # the first call has nothing to compare with
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(database.changed(), 0.2)
    await database.write(put, 1)
    await asyncio.wait_for(database.changed(), 5)
    waiting = asyncio.create_task(database.changed())
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO n VALUES (2)")
    await asyncio.wait_for(waiting, 5)


async def test_every_connection_is_durable_and_patient(path: Path) -> None:
    engine = make_engine(f"sqlite:///{path}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 4000, "foreign_keys": 1}
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted
            }
            assert found == wanted
    engine.dispose()


async def test_closing_waits_for_what_was_asked(path: Path) -> None:
    async with Sqlite(f"sqlite:///{path}") as database:
        await database.write(lambda c: c.execute(text("CREATE TABLE n (n INTEGER)")))
        writes = [asyncio.create_task(database.write(put, n)) for n in range(20)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*writes) == list(range(20))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM n").fetchone() == (20,)


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
async def test_a_file_that_is_no_database_is_unavailable(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "odd"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    async with Sqlite(f"sqlite:///{path}") as database:
        for attempt in (database.read(numbers), database.write(put, 1)):
            with pytest.raises(StoreUnavailable):
                await attempt
        assert database.fetch_nowait("SELECT 1 FROM n") is None
        async with asyncio.timeout(10):
            await database.changed()  # returns in spite of the errors


async def test_a_glance_sees_what_is_committed_and_needs_no_thread(path: Path) -> None:
    async with Sqlite(f"sqlite:///{path}") as database:
        await database.write(lambda c: c.execute(text("CREATE TABLE n (n INTEGER)")))
        await database.write(put, 1)
        assert database.fetch_nowait("SELECT n FROM n WHERE n = ?", 1) == [(1,)]
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO n VALUES (2)")
            assert database.fetch_nowait("SELECT n FROM n") == [(1,)], "a writer stops no reader"
            other.execute("COMMIT")
        assert database.fetch_nowait("SELECT n FROM n") == [(1,), (2,)]


async def test_a_glance_that_would_have_to_wait_answers_nothing(path: Path) -> None:
    async with Sqlite(f"sqlite:///{path}") as database:
        await database.write(lambda c: c.execute(text("CREATE TABLE n (n INTEGER)")))
        assert database.fetch_nowait("SELECT n FROM n") == []
        assert database.fetch_nowait("SELECT n FROM nowhere") is None
    assert Sqlite(f"sqlite:///{path}").fetch_nowait("SELECT n FROM n") is None, "not opened yet"
