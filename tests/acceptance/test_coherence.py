"""What is kept in memory: never older than what anybody was shown, whoever changed it."""

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.acceptance.conftest import KEYLESS, Service
from tests.acceptance.talk import body_of, new_id
from tests.waiting import until

CHANGES = 40


@pytest.fixture
def both(start_service: Callable[..., Service]) -> tuple[Service, Service]:
    """Two services on one store, each of which keeps what it has read."""
    one = start_service(**KEYLESS)
    return one, start_service(**KEYLESS, TRACKER_DATABASE_URL=one.database)


@pytest.fixture
def clients(both: tuple[Service, Service]) -> Iterator[list[httpx.Client]]:
    """A client of each."""
    one, other = (httpx.Client(base_url=service.url, timeout=30) for service in both)
    with one, other:
        yield [one, other]


def _rev(client: httpx.Client, generation_id: str) -> int:
    rev: int = client.get(f"/v1/generations/{generation_id}").json()["rev"]
    return rev


def test_what_one_is_told_the_other_shows_soon_and_never_anything_older_after(
    both: tuple[Service, Service], clients: list[httpx.Client]
) -> None:
    generation_id = new_id()
    path = both[0].callback_path
    for n in range(1, CHANGES + 1):
        teller, reader = clients if n % 2 else reversed(clients)
        said = {**body_of(generation_id, "queued"), "state": f"step-{n:03}"}
        assert teller.post(path, json=said).json() == {"outcome": "applied"}
        assert _rev(teller, generation_id) == n, "who was told shows it in the next answer"
        seen = [_rev(reader, generation_id)]
        while seen[-1] < n:
            seen.append(_rev(reader, generation_id))
            assert len(seen) < 5000
        assert seen == sorted(seen)
        assert n - 1 <= seen[0]


def test_who_was_told_of_a_change_is_never_shown_what_was_before(
    both: tuple[Service, Service], clients: list[httpx.Client]
) -> None:
    """By the history of an instance that did not make the change, and by its lists."""
    teller, reader = clients
    ids = [new_id() for _ in range(5)]
    path = both[0].callback_path

    def tell() -> None:
        for n in range(CHANGES):
            said = {**body_of(ids[n % 5], "queued"), "state": f"step-{n:03}"}
            assert teller.post(path, json=said).is_success

    telling = threading.Thread(target=tell)
    telling.start()
    after, seen = 0, 0
    while seen < CHANGES:
        page = reader.get(f"/v1/events?after={after}&limit=3&wait=20").json()
        for event in page["items"]:
            assert _rev(reader, event["generation_id"]) >= event["rev"]
        for shown in reader.get("/v1/generations?limit=5").json()["items"]:
            assert _rev(reader, shown["id"]) >= shown["rev"]
        after, seen = page["next_cursor"], seen + len(page["items"])
    telling.join()


def test_what_a_command_has_written_is_shown(
    both: tuple[Service, Service], clients: list[httpx.Client]
) -> None:
    """`replay` folds a delivery in a process of its own."""
    generation_id = new_id()
    clients[0].post(both[0].callback_path, json=body_of(generation_id, "completed"))
    assert _rev(clients[1], generation_id) == 1
    [delivery] = clients[0].get(f"/v1/deliveries?generation_id={generation_id}").json()["items"]
    both[0].rows("UPDATE generations SET state = 'queued' WHERE id = ?", generation_id)
    assert both[0].command("replay", delivery["id"]).returncode == 0
    until(lambda: all(_rev(client, generation_id) == 2 for client in clients))
