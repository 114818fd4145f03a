"""Ready means: migrated, writable, and no delivery waits too long for its first retry."""

import asyncio

import pytest
from sqlalchemy import make_url

from service.bootstrap import open_parts
from service.config import Settings
from service.errors import StoreUnavailable
from service.storage.migrating import head
from tests.conftest import Clock
from tests.databases import execute, one, server
from tests.relay import relaying


async def test_a_migrated_database_is_ready(settings: Settings, clock: Clock) -> None:
    async with open_parts(settings, clock) as parts:
        await parts.tracker.readiness.require()


async def test_many_who_ask_write_one_row(settings: Settings, clock: Clock) -> None:
    async with open_parts(settings, clock) as parts:
        await asyncio.gather(*(parts.tracker.readiness.require() for _ in range(50)))
        clock.turn(1)
        await parts.tracker.readiness.require()
    assert one(settings.database_url, "SELECT count(*) FROM readiness") == 1


async def test_a_database_that_takes_no_writes_is_not_ready(
    settings: Settings, clock: Clock
) -> None:
    refuse = "CREATE TRIGGER full_disk BEFORE {} ON readiness {}"
    how = (
        [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$",
            refuse.format("INSERT OR UPDATE", "EXECUTE FUNCTION refuse()"),
        ]
        if settings.on_server
        else [refuse.format(on, "BEGIN SELECT RAISE(FAIL, 'disk full'); END") for on in ("INSERT",)]
    )
    async with open_parts(settings, clock) as parts:
        for statement in how:
            execute(settings.database_url, statement)
        with pytest.raises(Exception, match="disk full"):
            await parts.tracker.readiness.require()


@pytest.mark.postgres
async def test_a_server_that_only_reads_is_not_ready(settings: Settings, clock: Clock) -> None:
    async with open_parts(settings, clock) as parts:
        await parts.tracker.readiness.require()
        name = make_url(settings.database_url).database
        server().execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ?"
        execute(server().url(), others, name)
        with pytest.raises(StoreUnavailable, match="read-only"):
            await parts.tracker.readiness.require()


async def test_a_schema_that_is_newer_is_ready_and_one_that_is_older_is_not(
    settings: Settings, clock: Clock
) -> None:
    """As in a rolling upgrade: the first new instance migrates while old ones serve."""
    async with open_parts(settings, clock) as parts:
        execute(settings.database_url, "UPDATE alembic_version SET version_num = '9999'")
        await parts.tracker.readiness.require()
        execute(settings.database_url, "UPDATE alembic_version SET version_num = '0001'")
        with pytest.raises(StoreUnavailable, match=f"0001; this version needs {head()}"):
            await parts.tracker.readiness.require()


@pytest.mark.postgres
async def test_a_server_that_is_too_old_is_refused_at_the_start(
    settings: Settings, clock: Clock
) -> None:
    """A relay changes the server's reported version to PostgreSQL 13."""
    url = make_url(settings.database_url)
    now = server().one("SHOW server_version").split(".")[0].encode()
    said = b"server_version\0"
    with relaying(server().port, (said + now, said + b"13")) as relay:
        through = url.set(port=relay.port).render_as_string(hide_password=False)
        old = settings.model_copy(update={"database_url": through})
        with pytest.raises(StoreUnavailable, match="PostgreSQL 13; luma-tracker needs 14 or newer"):
            async with open_parts(old, clock):
                pass
