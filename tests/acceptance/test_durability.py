"""An answered callback is on disk: through storms, kill -9, a full disk and a locked database."""

import asyncio
import hashlib
import random
import resource
import threading
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.acceptance.conftest import Service
from tests.acceptance.storm import Storm, life_of
from tests.databases import locked, on_postgres
from tests.waiting import until

ROUNDS = 5
LIVES = 500  # generations a round, two callbacks each: 5,000 callbacks in all


@pytest.mark.thorough_on_postgres
def test_whatever_was_answered_200_is_kept_and_folded_after_kill_9(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")
    answered: dict[bytes, int] = {}
    finished: set[str] = set()
    for _ in range(ROUNDS):
        ids = [str(uuid.uuid4()) for _ in range(LIVES)]
        bodies = [body for id_ in ids for body in life_of(id_, "dreaming", "completed")]
        storm = Storm(service.callback_url, connections=32)
        killer = threading.Timer(random.uniform(0.2, 1.2), service.kill)
        killer.start()
        asyncio.run(storm.blow(bodies))
        killer.join()
        answered |= storm.answered
        finished |= {id_ for id_ in ids if storm.answered.get(life_of(id_, "completed")[0]) == 200}
        service.start()

    kept = {digest for (digest,) in service.rows("SELECT digest FROM deliveries")}
    terminal = {i for (i,) in service.rows("SELECT id FROM generations WHERE state='completed'")}
    doubled = service.rows(
        "SELECT generation_id, rev FROM events GROUP BY 1, 2 HAVING count(*) > 1"
    )

    assert set(answered.values()) == {200}
    assert len(answered) > ROUNDS  # the storm did hit something before each kill
    assert {hashlib.sha256(body).hexdigest() for body in answered} <= kept
    assert finished <= terminal
    assert service.rows("SELECT count(*) FROM deliveries WHERE handled_at IS NULL") == [(0,)]
    assert doubled == []
    if not on_postgres():
        assert service.rows("PRAGMA integrity_check") == [("ok",)]


def test_128_connections_at_once_lose_nothing(start_service: Callable[..., Service]) -> None:
    service = start_service(LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")
    ids = [str(uuid.uuid4()) for _ in range(400)]
    bodies = [body for id_ in ids for body in life_of(id_, "dreaming", "completed")]
    random.shuffle(bodies)
    storm = Storm(service.callback_url, connections=128)

    asyncio.run(storm.blow(bodies))

    assert len(storm.answered) == len(bodies)
    assert set(storm.answered.values()) == {200}
    assert service.rows("SELECT count(*) FROM deliveries") == [(800,)]
    assert service.rows("SELECT state, count(*) FROM generations GROUP BY 1") == [
        ("completed", 400)
    ]


@pytest.mark.thorough_on_postgres
def test_a_locked_database_is_503_and_the_service_recovers(service: Service) -> None:
    body = life_of("locked-out", "dreaming")[0]
    url = service.callback_url
    with locked(service.database):
        refused = httpx.post(url, content=body, timeout=20)
    accepted = httpx.post(url, content=body, timeout=20)

    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert accepted.json() == {"outcome": "applied"}
    assert service.rows("SELECT duplicates FROM deliveries") == [(0,)]


@pytest.mark.sqlite
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux to limit a process")
def test_a_full_disk_is_503_and_the_service_recovers(service: Service) -> None:
    """A limit on the size of its files is a full disk, as far as the process can tell."""
    url, before = service.callback_url, resource.getrlimit(resource.RLIMIT_FSIZE)
    size = service.folder.joinpath("tracker.db-wal").stat().st_size
    big = life_of("x" * 100, "dreaming")[0][:-1] + b', "more": "' + b"x" * 200_000 + b'"}'

    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size + 4096, before[1]))
    refused = httpx.post(url, content=big, timeout=20)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, before)
    until(lambda: httpx.post(url, content=big, timeout=20).status_code == 200)

    assert refused.status_code == 503
    assert service.rows("SELECT length(body) FROM deliveries") == [(len(big),)]
    assert service.rows("PRAGMA integrity_check") == [("ok",)]
