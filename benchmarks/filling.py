"""Fills a database as a year of use would: what Luma says, folded by the service's own rules.

Every row is one of a few lives (an operation, a model, an end) that the real reader and the
real merge have gone through once; ids, prompts and times differ. Deliveries and events are
there for as long as retention keeps them, generations for the whole year.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from uuid_utils import uuid7

from service.domain.generation import Generation, Outcome, Source
from service.domain.merge import merge
from service.luma.bodies import parse_object
from service.luma.dream_machine import read
from service.storage import deliveries, events, generations
from service.storage.engine import Database

YEAR = timedelta(days=365)
RETENTION = timedelta(days=90)
RETIRED = "ray-1-6"
"""A model that only the first tenth of the rows used."""

_BODIES = Path(__file__).parents[1] / "tests" / "payloads" / "luma.json"
_AT_ONCE = 2000
_LOST = 0.02  # of all: Luma never said how they ended
UNDER_WAY = 50
"""The newest, which are open. Luma limits how many are, however many there have been."""
_FAILED = 0.05
_GONE = 0.005
_OPERATIONS = {
    "video": 60,
    "image": 20,
    "upscale_video": 8,
    "add_audio": 5,
    "reframe_image": 3,
    "reframe_video": 2,
    "modify_video": 2,
}
_FIRST = ["sun", "moon", "river", "tree", "stone", "glass", "wind", "snow", "fire", "cloud"]
_LAST = ["light", "fall", "bird", "house", "song", "field", "walker", "mirror", "ship", "way"]
_WORDS = [first + last for first in _FIRST for last in _LAST]


@dataclass(frozen=True, slots=True)
class Life:
    """How one generation went: what Luma said, and the row after each time."""

    bodies: tuple[dict[str, Any], ...]
    rows: tuple[Generation, ...]


async def fill(database: Database, count: int, now: datetime) -> list[str]:
    """Put `count` generations into an empty database; answers their ids, oldest first."""
    ids: list[str] = []
    coming = lives(count, now)
    while some := list(islice(coming, _AT_ONCE)):
        await database.write(_put, some, now - RETENTION)
        ids += [life.rows[-1].id for life in some]
    return ids


def lives(count: int, now: datetime) -> Iterator[Life]:
    """That many, the oldest first, spread over a year; the same at every call."""
    chance = random.Random(count)
    for n in range(count):
        begun = now - YEAR * ((count - n) / (count + 1))
        operation, model, end = _drawn(chance, n / count)
        under_way = n >= count - min(UNDER_WAY, count // 20)
        yield _lived(_life(operation, model, "dreaming" if under_way else end), chance, begun)


def bodies_of_one(chance: random.Random, now: datetime) -> list[bytes]:
    """The two callbacks of a new generation."""
    life = _lived(_life("video", "ray-2", "completed"), chance, now)
    return [json.dumps(body).encode() for body in life.bodies]


def _drawn(chance: random.Random, part: float) -> tuple[str, str, str]:
    """Operation, model and end of the row that has `part` of all before it."""
    [operation] = chance.choices(list(_OPERATIONS), list(_OPERATIONS.values()))
    model = "ray-2" if chance.random() < 0.7 else "ray-flash-2"
    if "image" in operation:
        model = "photon-1" if chance.random() < 0.7 else "photon-flash-1"
    elif part < 0.1:
        model = RETIRED
    rest = 1 - _LOST - _FAILED
    [end] = chance.choices(("dreaming", "failed", "completed"), (_LOST, _FAILED, rest))
    return operation, model, end


@cache
def _life(operation: str, model: str, end: str) -> Life:
    """By the rules of the service: two callbacks, and the answer that confirms the end."""
    states = ["queued", "dreaming"] if end == "dreaming" else ["dreaming", end]
    bodies = [
        _payloads()[f"CONSTRUCTED_{operation}_{state}"] | {"model": model} for state in states
    ]
    sources = [Source.CALLBACK, Source.CALLBACK] + [Source.FETCH] * (end != "dreaming")
    rows: list[Generation] = []
    for body, source in zip([*bodies, bodies[-1]], sources, strict=False):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        seen = read(parse_object(json.dumps(body).encode()), source, at)
        rows.append(merge(rows[-1] if rows else None, seen, at)[0])
    return Life(tuple(bodies), tuple(rows))


@cache
def _payloads() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(_BODIES.read_text())
    return known


def _lived(life: Life, chance: random.Random, begun: datetime) -> Life:
    """The same life by another generation."""
    own: dict[str, Any] = {
        "id": str(UUID(int=chance.getrandbits(128), version=4)),
        "created_at": begun,
    }
    prompt = " ".join(chance.choices(_WORDS, k=12))
    request = {**life.bodies[0]["request"], "prompt": prompt}
    bodies = tuple(
        {**body, **own, "created_at": begun.isoformat(), "request": request} for body in life.bodies
    )
    gone_at = begun + RETENTION if chance.random() < _GONE else None
    shown: dict[str, Any] = {**own, "prompt": prompt, "request": {**request, "callback_url": None}}
    times = [begun + timedelta(seconds=20 * n) for n, _ in enumerate(life.rows, 1)]
    rows = [
        row._replace(**shown, first_seen_at=times[0], updated_at=at, heard_at=at)
        for row, at in zip(life.rows, times, strict=True)
    ]
    rows[-1] = _ended(rows[-1], gone_at)
    return Life(bodies, tuple(rows))


def _ended(row: Generation, gone_at: datetime | None) -> Generation:
    if row.terminal:
        return row._replace(finished_at=row.updated_at, gone_at=gone_at)
    return row._replace(next_check_at=row.updated_at + YEAR)  # nobody asks while we measure


def _put(connection: Connection, some: Sequence[Life], kept_since: datetime) -> None:
    generations.save(connection, [generations.Change(None, life.rows[-1]) for life in some])
    recent = [life for life in some if life.rows[0].first_seen_at >= kept_since]
    told = [(life, _arrivals(life)) for life in recent]
    deliveries.add(connection, [arrival for _, arrivals in told for arrival in arrivals])
    events.add(connection, [change for each in told for change in _changes(*each)])


def _arrivals(life: Life) -> list[deliveries.Arrival]:
    found = []
    for body, row in zip(life.bodies, life.rows, strict=False):
        sent = json.dumps(body).encode()
        found.append(
            deliveries.Arrival(
                digest=hashlib.sha256(sent).hexdigest(),
                body=sent,
                at=row.updated_at,
                id=str(uuid7()),
                generation_id=row.id,
                outcome=Outcome.APPLIED,
            )
        )
    return found


def _changes(life: Life, arrivals: Sequence[deliveries.Arrival]) -> list[generations.Change]:
    ids = [*(arrival.id for arrival in arrivals), None]
    steps = pairwise([None, *life.rows])
    return [
        generations.Change(before, after, id_)
        for (before, after), id_ in zip(steps, ids, strict=False)
        if after
    ]
