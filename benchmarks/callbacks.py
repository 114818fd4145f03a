"""Rows of callbacks: what comes back, and what is in the database afterwards."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import quantiles

from benchmarks.asking import Request
from benchmarks.finding import Finding, by_rate
from benchmarks.processes import Server
from benchmarks.reads import NAIVE_PAGE, PAGE
from benchmarks.slices import Slice, costing, interleave
from benchmarks.stage import CALLBACK, CONNECTIONS, SLOW, Stage
from benchmarks.stored import balance, deliveries_in, told_in
from benchmarks.storm import Conversation, Order, Outcome

_MANY = 128
_SENDERS = 2  # while lists are asked for
_LONGER = 2
"""Slices of many connections: the naive app takes a second for the first answers."""


@dataclass(frozen=True, slots=True)
class Lives(Order):
    """Generations of which Luma tells twice: that they dream, and after the answer the end."""

    path: str
    prefix: str

    def conversations(self) -> Iterator[Conversation]:
        """One for each generation, without an end."""
        told = [self._callback(state) for state in ("dreaming", "completed")]
        for n in count():
            name = f"{self.prefix}-{n:08}"
            yield name, [callback.replace(self._unnamed, name.encode()) for callback in told]

    @property
    def _unnamed(self) -> bytes:
        return b"?" * len(f"{self.prefix}-{0:08}")

    def _callback(self, state: str) -> bytes:
        """All but the id, which is filled in for each: the load is to cost little."""
        headers = {"Content-Type": "application/json"}
        body = json.dumps(body_of(self._unnamed.decode(), state)).encode()
        return Request(self.path, "POST", headers, body).encoded(self.netloc)


def body_of(generation_id: str, state: str) -> dict[str, object]:
    """What Luma says of a generation in that state."""
    video = f"https://storage.cdn-luma.com/dream_machine/{generation_id}/video.mp4"
    return {
        "id": generation_id,
        "generation_type": "video",
        "state": state,
        "failure_reason": None,
        "created_at": "2026-05-30T12:34:56.236000Z",
        "assets": {"video": video} if state == "completed" else None,
        "model": "ray-2",
        "request": {"generation_type": "video", "prompt": "an old lady laughing underwater"},
    }


@dataclass
class Storms:
    """One server's slices of callbacks, and all that was answered in them."""

    stage: Stage
    server: Server
    path: str
    connections: int
    name: str
    """What the ids of its generations begin with."""
    total: Outcome = field(default_factory=Outcome)
    told: int = 0

    def __call__(self) -> Slice:
        """The next slice, of generations of its own."""
        self.told += 1
        prefix = f"{self.name}-{self.told}"
        seconds = self.stage.seconds * (_LONGER if self.connections > CONNECTIONS else 1)
        order = Lives(self.server.url, self.connections, seconds, self.path, prefix)
        outcome = Outcome()

        def load() -> tuple[int, float]:
            outcome.add(self.stage.blow(order))
            return outcome.answers, outcome.seconds

        measured = costing(self.server, load)
        self.total.add(outcome)
        # The cost is of all answers, the rate of those in time: one at least, to flatter none.
        in_time = max(outcome.in_time, 1)
        cpu = None if measured.cost is None else measured.cost * in_time
        return Slice(in_time, outcome.seconds, cpu)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 answers took at most."""
        return quantiles(self.total.times, n=100)[98]


def against_naive(stage: Stage) -> Finding:
    """At 32 connections."""
    return _compared(*_both(stage, "some", CONNECTIONS))


def against_naive_on_postgres(stage: Stage) -> Finding:
    """At 32 connections, both on PostgreSQL."""
    return _compared(
        Storms(stage, stage.receiving_on_postgres, CALLBACK, CONNECTIONS, "some"),
        Storms(stage, stage.naive_receiving_on_postgres, "/callback", CONNECTIONS, "some"),
    )


def _compared(ours: Storms, naive: Storms) -> Finding:
    found = by_rate(interleave(ours, naive, ours.stage.times), wrong(ours))
    return replace(found, other=f"{found.other}; {_honesty(ours, naive)}")


def at_many_connections(stage: Stage) -> Finding:
    """At 128, by how long the slowest hundredth waits."""
    ours, naive = _both(stage, "many", _MANY)
    compared = interleave(ours, naive, stage.times)
    return Finding(
        naive.p99 / ours.p99,
        f"{ours.p99 * 1000:,.0f} ms",
        f"{naive.p99 * 1000:,.0f} ms",
        f"{compared.by_rate:.1f} × by rate; {_honesty(ours, naive)}",
        wrong(ours),
    )


def pages_meanwhile(stage: Stage) -> Finding:
    """The newest page of 20, again and again, while callbacks come over other connections."""
    ours = PagesInStorm(stage, stage.receiving, CALLBACK, PAGE)
    naive = PagesInStorm(stage, stage.naive_receiving, "/callback", NAIVE_PAGE)
    return by_rate(interleave(ours, naive, stage.times))


@dataclass
class PagesInStorm:
    """Slices of one list, asked while callbacks arrive as quickly as two senders get answers."""

    stage: Stage
    server: Server
    path: str
    page: Request
    told: int = 0

    def __call__(self) -> Slice:
        """The next slice, with callbacks of generations of its own."""
        self.told += 1
        seconds = self.stage.seconds * _LONGER
        callbacks = Lives(self.server.url, _SENDERS, seconds, self.path, f"meanwhile-{self.told}")
        storm = self.stage.begin(callbacks)
        asked = self.stage.hammer(self.server, self.page, longer=SLOW)()
        storm.result()
        return asked


def against_uncommitted(stage: Stage) -> Finding:
    """Against our own route that stores nothing."""
    settings = stage.settings(stage.folder / "uncommitted", None)
    ours = Storms(stage, stage.receiving, CALLBACK, CONNECTIONS, "kept")
    with stage.peer("uncommitted", **settings) as careless:
        peer = Storms(stage, careless, CALLBACK, CONNECTIONS, "forgotten")
        return by_rate(interleave(ours, peer, stage.times), wrong(ours))


def _both(stage: Stage, name: str, connections: int) -> tuple[Storms, Storms]:
    """Storms on ours and on the naive app."""
    return (
        Storms(stage, stage.receiving, CALLBACK, connections, name),
        Storms(stage, stage.naive_receiving, "/callback", connections, name),
    )


def wrong(ours: Storms) -> str:
    """What must not be: a callback refused, or stored otherwise than answered."""
    store = ours.server.settings["TRACKER_DATABASE_URL"]
    answered = ours.total.taken
    kept = balance(answered, deliveries_in(store, ours.name))
    folded = balance(answered, told_in(store, "generations", ours.name))
    wrong = [f"{ours.total.errors:,} callbacks refused"] if ours.total.errors else []
    wrong += [f"{what}: {b}" for what, b in (("inbox", kept), ("rows", folded)) if not b.exact]
    return "; ".join(wrong)


def _honesty(ours: Storms, naive: Storms) -> str:
    """What both answered, and whether it is there."""
    mine = wrong(ours) or f"{sum(ours.total.taken.values()):,} answered and stored, 0 refused"
    rows = told_in(naive.server.arguments[-1], "naivegeneration", naive.name)
    stored = balance(naive.total.taken, rows)
    return f"ours {mine}; naive {stored}, {naive.total.errors:,} refused"
