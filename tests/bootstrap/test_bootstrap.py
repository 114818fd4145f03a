"""Building all parts from the settings, and closing them again."""

import json
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.bootstrap import make_upstreams, open_tracker
from service.config import Settings
from service.errors import StoreUnavailable
from service.luma import LumaClient
from service.storage import migrating
from service.storage.listing import Query
from service.tracking.callback_tokens import CallbackTokens, Grant
from tests.conftest import Clock
from tests.databases import execute


async def test_a_tracker_makes_its_folder_and_its_database(
    settings: Settings, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "not" / "there" / "yet.db"
    elsewhere = settings.model_copy(update={"database_url": f"sqlite:///{path}"})
    with capture_logs() as said:
        async with open_tracker(elsewhere, clock) as tracker:
            await tracker.readiness.require()
            assert (await tracker.page(Query())).items == []
    assert path.exists()
    assert said == [
        {"event": "database_created", "revision": migrating.head(), "log_level": "info"}
    ]


async def test_a_second_start_has_nothing_to_do(settings: Settings, clock: Clock) -> None:
    async with open_tracker(settings, clock):
        pass
    with capture_logs() as said:
        async with open_tracker(settings, clock) as tracker:
            await tracker.readiness.require()
    assert said == []


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [b"this is no database" * 100, "a folder"])
async def test_what_is_no_database_is_unavailable(
    settings: Settings, clock: Clock, content: bytes | str
) -> None:
    settings.database_path.unlink()
    if isinstance(content, bytes):
        settings.database_path.write_bytes(content)
    else:
        settings.database_path.mkdir()
    with pytest.raises(StoreUnavailable):
        async with open_tracker(settings, clock):
            pass


async def test_a_folder_that_cannot_be_made_is_named(
    settings: Settings, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    below = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/file/tracker.db"})
    with pytest.raises(StoreUnavailable, match="file cannot be created") as error:
        async with open_tracker(below, clock):
            pass
    assert "TRACKER_DATABASE_URL" in error.value.hint


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    settings: Settings, clock: Clock
) -> None:
    async with open_tracker(settings, clock):
        pass
    execute(settings.database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="cannot be migrated"):
        async with open_tracker(settings, clock):
            pass


async def test_a_database_that_is_changed_under_us_is_not_ready(
    settings: Settings, clock: Clock
) -> None:
    async with open_tracker(settings, clock) as tracker:
        execute(settings.database_url, "UPDATE alembic_version SET version_num = '0000'")
        with pytest.raises(StoreUnavailable, match="revision 0000") as error:
            await tracker.readiness.require()
        assert "luma-tracker db upgrade" in error.value.hint


@pytest.mark.sqlite
async def test_the_log_is_empty_when_all_is_closed(settings: Settings, clock: Clock) -> None:
    async with open_tracker(settings, clock):
        pass
    left = {path.name for path in settings.database_path.parent.iterdir()}
    assert left == {"tracker.db"}, "what SQLite wrote beside it is folded in"


async def test_only_upstreams_with_a_key_are_asked(settings: Settings, clock: Clock) -> None:
    keys = {"luma_api_key": "dream_machine", "luma_agents_api_key": "agents"}
    async with LumaClient(1) as client:
        assert [u.name for u in make_upstreams(settings, client, clock)] == list(keys.values())
        for key, name in keys.items():
            without = settings.model_copy(update={key: None})
            assert name not in [u.name for u in make_upstreams(without, client, clock)]


@pytest.mark.sqlite
async def test_nobody_else_can_read_the_database(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "new" / "folder"
    settings = Settings.model_validate({"database_url": f"sqlite:///{folder}/tracker.db"})
    umask = os.umask(0o022)
    try:
        async with open_tracker(settings, clock) as tracker:
            await tracker.deliveries.receive(b'{"id":"a"}', Grant())
            files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert files == {"tracker.db": 0o600, "tracker.db-wal": 0o600, "tracker.db-shm": 0o600}


@pytest.mark.sqlite
async def test_a_database_that_others_could_read_is_closed_to_them(
    settings: Settings, clock: Clock
) -> None:
    settings.database_path.chmod(0o644)
    async with open_tracker(settings, clock):
        assert stat.S_IMODE(settings.database_path.stat().st_mode) == 0o600


@pytest.mark.sqlite
async def test_no_token_is_in_the_files(settings: Settings, clock: Clock) -> None:
    token = CallbackTokens(["secret"]).reusable()
    body = {"id": "a", "request": {"callback_url": f"https://t.example/callbacks/{token}"}}
    async with open_tracker(settings, clock) as tracker:
        await tracker.deliveries.receive(json.dumps(body).encode(), Grant())
        files = [path.read_bytes() for path in settings.database_path.parent.glob("tracker.db*")]
    assert any(b"t.example" in content for content in files)
    assert not any(token.encode() in content for content in files)
