"""It stays small and tidy: retention, another try for what was kept, and copies that are good."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import Service
from tests.acceptance.storm import Storm, life_of
from tests.databases import at, curse, execute, lift
from tests.older import OLD as OLD_DOCUMENT
from tests.older import fill
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

NO_LUMA = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": ""}
OLD, RECENT = "2020-01-01 00:00:00.000000", "2100-01-01 00:00:00.000000"
FILL_DELIVERIES = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO deliveries (id, digest, body, received_at, generation_id, outcome, error,
        duplicates, handled_at)
    SELECT '{0}' || i, '{0}' || i, ?, '{0}', 'g' || i, 'applied', NULL, 0, '{0}' FROM n
"""
FILL_EVENTS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO events (generation_id, to_state, rev, source, at)
    SELECT 'g' || i, 'dreaming', 1, 'callback', '{0}' FROM n
"""


def database(service: Service) -> Path:
    return Path(service.environment["TRACKER_DATABASE_URL"].removeprefix("sqlite:///"))


def curse_ids(service: Service) -> None:
    """Ids that begin so cannot be stored."""
    with at(service.database) as connection:
        curse(connection, when="NEW.id LIKE 'cursed%'")


def lift_it(service: Service) -> None:
    with at(service.database) as connection:
        lift(connection)


def call_back(service: Service, generation_id: str, state: str = "completed") -> str:
    [body] = life_of(generation_id, state)
    return str(httpx.post(service.callback_url, content=body).json()["outcome"])


def get(service: Service, path: str) -> Any:
    answer = httpx.get(f"{service.url}{path}", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def kept(service: Service) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = get(service, "/v1/deliveries?outcome=kept")["items"]
    return items


def test_a_large_clean_up_at_the_start_lets_callbacks_through_and_generations_stay(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**NO_LUMA, TRACKER_RETENTION_DAYS="1")
    assert call_back(service, "stays") == "applied"
    service.stop()
    execute(service.database, "UPDATE deliveries SET received_at = ?", OLD)
    execute(service.database, "UPDATE events SET at = ?", OLD)
    execute(service.database, FILL_DELIVERIES.format(OLD), 8_000, bytes(900))
    execute(service.database, FILL_EVENTS.format(OLD), 8_000)
    execute(service.database, FILL_DELIVERIES.format(RECENT), 100, bytes(900))
    service.start()
    url = service.callback_url

    answered, slowest = 0, 0.0
    with httpx.Client() as client:
        client.get(f"{service.url}/readyz", timeout=20)
        while service.rows("SELECT 1 FROM events WHERE at = ? LIMIT 1", OLD):
            [body] = life_of(f"now-{answered}", "dreaming")
            begun = time.monotonic()
            assert client.post(url, content=body, timeout=10).status_code == 200
            slowest, answered = max(slowest, time.monotonic() - begun), answered + 1

    assert answered > 0
    assert slowest < 2
    assert service.rows("SELECT count(*) FROM deliveries WHERE received_at = ?", OLD) == [(0,)]
    assert service.rows("SELECT count(*) FROM deliveries") == [(100 + answered,)]
    assert get(service, "/v1/generations/stays")["state"] == "completed"
    assert get(service, "/v1/generations/stays/events")["items"] == []


@pytest.mark.thorough
def test_what_was_kept_says_why_and_is_folded_by_itself_when_the_cause_is_gone(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**NO_LUMA)
    httpx.get(f"{service.url}/readyz", timeout=20)
    curse_ids(service)
    assert call_back(service, "cursed-1", "dreaming") == "kept"
    assert call_back(service, "cursed-1", "completed") == "kept"
    assert call_back(service, "blessed") == "applied"  # the others are not held up

    assert [item["generation_id"] for item in kept(service)] == ["cursed-1"] * 2
    assert all("cursed" in item["error"] for item in kept(service))
    assert httpx.get(f"{service.url}/v1/generations/cursed-1").status_code == 404

    lift_it(service)
    until(lambda: kept(service) == [], seconds=25)
    assert get(service, "/v1/generations/cursed-1")["state"] == "completed"


def test_what_was_kept_can_be_replayed_by_rest_and_by_command(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**NO_LUMA)
    httpx.get(f"{service.url}/readyz", timeout=20)
    curse_ids(service)
    assert [call_back(service, f"cursed-{n}") for n in range(3)] == ["kept"] * 3
    ids = {item["generation_id"]: item["id"] for item in kept(service)}

    def replay(n: int) -> dict[str, Any]:
        delivery_id = ids[f"cursed-{n}"]
        answer = httpx.post(f"{service.url}/v1/deliveries/{delivery_id}/replay", timeout=10)
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    assert replay(0)["outcome"] == "kept"
    lift_it(service)
    assert replay(0)["outcome"] == "applied"
    assert replay(1)["outcome"] == "applied"
    all_others = service.command("replay", "--json")

    assert all_others.returncode == 0, all_others.stderr
    assert {each["outcome"] for each in json.loads(all_others.stdout)} <= {"applied"}
    assert kept(service) == []
    states = service.rows("SELECT id, state, rev FROM generations ORDER BY id")
    assert states == [(f"cursed-{n}", "completed", 1) for n in range(3)]
    assert service.rows("SELECT count(*) FROM events") == [(3,)]
    assert httpx.post(f"{service.url}/v1/deliveries/none/replay").status_code == 404


def test_the_service_is_not_ready_while_the_inbox_lags_and_ready_when_it_does_not(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**NO_LUMA)
    httpx.get(f"{service.url}/readyz", timeout=20)
    curse_ids(service)
    call_back(service, "cursed")
    assert get(service, "/readyz")["ready"] is True  # for a while it may wait

    an_hour_ago = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d %H:%M:%S.%f}"
    execute(service.database, "UPDATE deliveries SET received_at = ?", an_hour_ago)
    lagging = httpx.get(f"{service.url}/readyz")
    assert lagging.status_code == 503
    assert lagging.headers["content-type"] == "application/problem+json"
    assert "could not be folded" in lagging.json()["detail"]
    assert "deliveries" in lagging.json()["hint"]
    assert get(service, "/healthz")["alive"] is True  # restarting it would not help
    assert call_back(service, "blessed") == "applied"

    lift_it(service)
    [delivery] = kept(service)
    httpx.post(f"{service.url}/v1/deliveries/{delivery['id']}/replay", timeout=10)
    assert get(service, "/readyz")["ready"] is True


@pytest.mark.sqlite
def test_a_copy_made_while_the_service_runs_is_whole_and_can_be_served(
    start_service: Callable[..., Service], tmp_path: Path, luma: Luma
) -> None:
    service = start_service(**NO_LUMA)
    storm = Storm(service.callback_url)
    lives = [life_of(f"g{n}", "dreaming", "completed") for n in range(200)]
    for bodies in zip(*lives, strict=True):  # all begin before any ends
        asyncio.run(storm.blow(bodies))
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(database(service))) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    assert call_back(service, "after-the-copy") == "applied"

    with closing(sqlite3.connect(copy)) as connection:
        counts = [
            connection.execute(sql).fetchone()[0]
            for sql in (
                "SELECT count(*) FROM generations",
                "SELECT count(*) FROM events",
                "SELECT count(*) FROM deliveries",
            )
        ]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert counts == [200, 400, 400]
    restored = {"TRACKER_DATABASE_URL": f"sqlite:///{copy}"}
    shown = service.command("get", "g7", "--json", **restored)
    assert json.loads(shown.stdout) == get(service, "/v1/generations/g7")


@pytest.mark.sqlite
@pytest.mark.thorough
def test_rewriting_goes_on_after_a_kill_and_no_row_is_written_twice(
    start_service: Callable[..., Service],
) -> None:
    rows, documents = 12_000, "SELECT done FROM rewrites WHERE name = 'documents'"
    service = start_service(**NO_LUMA)
    service.stop()
    execute(service.database, "DELETE FROM rewrites")
    fill(service.database, rows)
    execute(service.database, "CREATE TABLE written (id)")
    note = "AFTER UPDATE ON generations BEGIN INSERT INTO written VALUES (NEW.id); END"
    execute(service.database, f"CREATE TRIGGER noted {note}")

    service.start()
    until(lambda: service.rows(f"{documents} AND done > 400"))
    service.kill()
    [(done,)] = service.rows(f"{documents} AND finished_at IS NULL")
    assert done < rows
    told = service.command("db", "current")
    assert f"rewriting documents: {done} rows done" in told.stderr
    service.start()
    until(lambda: service.rows(f"{documents} AND finished_at IS NOT NULL"))

    assert service.rows(documents) == [(rows,)]
    assert service.rows("SELECT count(*), count(DISTINCT id) FROM written") == [(rows, rows)]
    old = "SELECT count(*) FROM generations WHERE assets = ?"
    assert service.rows(old, OLD_DOCUMENT) == [(0,)]
