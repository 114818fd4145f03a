"""What is measured: the service's own statements, as its surfaces ask them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from time import perf_counter

from sqlalchemy import Connection

from benchmarks.filling import RETIRED, UNDER_WAY, bodies_of_one
from service.domain.generation import Observation, Source
from service.domain.query import Conditions, parse
from service.storage import deliveries, events, generations, listing
from service.storage.engine import Database
from service.storage.listing import Query, Sort
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, receive
from service.tracking.observe import ReceivedObservation, observe

_RECENT = 200
_BATCH = 16  # generations that call back at once, twice each
_ONCE = count()
_QUIET = timedelta(seconds=30)  # after which an open generation is stale


@dataclass(slots=True)
class Place:
    """A filled database, and what is known of it."""

    database: Database
    ids: list[str]
    now: datetime
    middle: str | None
    """The cursor of the page in the middle of the list."""
    chance: random.Random

    def later(self) -> datetime:
        """A moment after all others."""
        self.now += timedelta(milliseconds=1)
        return self.now


@dataclass(frozen=True, slots=True)
class Question:
    """One operation. `held` ones must not grow with the table."""

    name: str
    held: bool
    seconds: Callable[[Place, int], Awaitable[list[float]]]
    """How long each of so many takes."""


async def place(database: Database, ids: list[str], now: datetime, span: timedelta) -> Place:
    """What the questions need to know of a filled database."""
    half = Query(limit=1, created_before=now - span / 2)
    middle = await listing.page(database, half, Conditions(now, _QUIET))
    return Place(database, ids, now, middle.next_cursor, random.Random(1))


def _reading(
    name: str, ask: Callable[[Connection, Place], object], *, held: bool = True
) -> Question:
    def many(connection: Connection, where: Place, times: int) -> list[float]:
        return [_timed(ask, connection, where) for _ in range(times)]

    async def seconds(where: Place, times: int) -> list[float]:
        return await where.database.read(many, where, times)

    return Question(name, held, seconds)


def _timed(ask: Callable[[Connection, Place], object], connection: Connection, to: Place) -> float:
    begun = perf_counter()
    ask(connection, to)
    return perf_counter() - begun


def _page(name: str, query: Query, *, held: bool = True) -> Question:
    return _paging(name, lambda _: query, held=held)


def _paging(name: str, query: Callable[[Place], Query], *, held: bool = True) -> Question:
    async def seconds(where: Place, times: int) -> list[float]:
        return [await _search(where, query(where)) for _ in range(times)]

    return Question(name, held, seconds)


async def _search(where: Place, query: Query) -> float:
    begun = perf_counter()
    await listing.page(where.database, query, Conditions(datetime.now(UTC), _QUIET))
    return perf_counter() - begun


def _point(connection: Connection, where: Place) -> object:
    return generations.find(connection, where.chance.choice(where.ids))


def _history(connection: Connection, where: Place) -> object:
    return events.of_generation(
        connection, where.chance.choice(where.ids[-_RECENT:]), after=0, limit=50
    )


def _deep(where: Place) -> Query:
    return Query(limit=20, cursor=where.middle)


def _inbox(connection: Connection, outcomes: tuple[str, ...]) -> object:
    return deliveries.deliveries(
        connection, outcomes=outcomes, generation_ids=(), before=None, limit=20
    )


def _due(connection: Connection, where: Place) -> object:
    return generations.any_due(connection, ["dream_machine"], where.now)


async def _upserts(where: Place, times: int) -> list[float]:
    """A change of a recent row, until it is on disk."""
    found = []
    for _ in range(times):
        recent = where.ids[-min(UNDER_WAY, len(where.ids) // 20) :]
        seen = Observation(
            id=where.chance.choice(recent),
            upstream="dream_machine",
            source=Source.FETCH,
            state="dreaming",
            assets={"progress_video": f"https://storage.cdn-luma.com/{next(_ONCE)}.mp4"},
        )
        heard = [ReceivedObservation(seen, where.later())]
        begun = perf_counter()
        await where.database.write(observe, heard)
        found.append(perf_counter() - begun)
    return found


async def _callbacks(where: Place, times: int) -> list[float]:
    """New generations call back, all at once, until all are on disk; time of one callback."""
    found = []
    for _ in range(max(times // 4, 1)):
        sent = [
            Callback(body, Grant(None), where.later())
            for _ in range(_BATCH)
            for body in bodies_of_one(where.chance, where.now)
        ]
        begun = perf_counter()
        await asyncio.gather(*(where.database.write_all(receive, each) for each in sent))
        found.append((perf_counter() - begun) / len(sent))
    return found


QUESTIONS = [
    _reading("point read", _point),
    _page("newest page", Query(limit=20)),
    _page("newest page by change", Query(limit=20, sort=Sort.UPDATED_DOWN)),
    _paging("page from the middle", _deep),
    _page("state: failed", Query(limit=20, state=("failed",))),
    _page("state: completed or failed", Query(limit=20, state=("completed", "failed"))),
    _page("model: a common one", Query(limit=20, model=("photon-1",))),
    _page("model: a retired one", Query(limit=20, model=(RETIRED,))),
    _page("model: none has it", Query(limit=20, model=("ray-9",))),
    _page("operation: reframe_video", Query(limit=20, operation=("reframe_video",))),
    _page("type: image", Query(limit=20, generation_type=("image",))),
    _page("upstream: none is there", Query(limit=20, upstream=("agents",))),
    _page("state and model", Query(limit=20, state=("completed",), model=("photon-1",))),
    _page("state, by change", Query(limit=20, state=("completed",), sort=Sort.UPDATED_DOWN)),
    _page("type, by change", Query(limit=20, generation_type=("video",), sort=Sort.UPDATED_DOWN)),
    _page(
        "model: none has it, by change",
        Query(limit=20, model=("ray-9",), sort=Sort.UPDATED_DOWN),
        held=False,
    ),
    _page("q: a common word", Query(limit=20, q=parse("sunlight"))),
    _page("q: a word in none", Query(limit=20, q=parse("unicorn")), held=False),
    _reading("history of one", _history),
    _reading("inbox, newest", lambda connection, _: _inbox(connection, ())),
    _reading("inbox, kept only", lambda connection, _: _inbox(connection, ("kept",))),
    _reading("inbox lag", lambda connection, _: deliveries.oldest_unfolded(connection)),
    _reading("anything due", _due),
    Question("upsert, committed", True, _upserts),
    Question("one of 32 callbacks, committed", True, _callbacks),
]
