"""The servers that rows are measured on: each is started when a row first wants it."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self, TypeVar

from benchmarks import wrk
from benchmarks.asking import Answer, Request, Wrong, ask
from benchmarks.filling import fill, lives
from benchmarks.peers import naive, raw
from benchmarks.processes import Server
from benchmarks.slices import Slice, costing
from benchmarks.storm import Order, Outcome, Same, blow
from service.storage import migrating
from service.storage.engine import open_database
from service.tracking.callback_tokens import CallbackTokens
from tests import postgres

T = TypeVar("T")

CONNECTIONS = 32
TOKEN = "token-of-the-benchmark"  # noqa: S105 - of servers that live for minutes, on loopback
BEARER = {"Authorization": f"Bearer {TOKEN}"}
_SECRET = "secret-of-the-benchmark"  # noqa: S105 - the same
CALLBACK = f"/callbacks/{CallbackTokens([_SECRET]).reusable()}"
COMPLETED = "/v1/generations?state=completed&limit=1"
_KEYLESS = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": "", "TRACKER_RECONCILE": "false"}
_ROWS = 1000
SLOW = 2
"""A slow peer's slices are so many times as long: what is under way at their end is not counted."""


class Skipped(Exception):
    """A row cannot be measured here; the text says why."""


class Stage:
    """Everything that one run needs, for as long as it is entered."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.times = 3 if quick else 20
        self.seconds = 0.3 if quick else 0.4
        self._made: dict[str, Any] = {}
        self._open = ExitStack()
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    @cached_property
    def ours(self) -> Server:
        """The service, with a thousand generations, that asks Luma nothing."""
        return self._open.enter_context(self.service("ours", self.filled))

    @cached_property
    def uncached(self) -> Server:
        """The same, which keeps nothing in memory."""
        settings = {"TRACKER_CACHE_SIZE": "0"}
        return self._open.enter_context(self.service("uncached", self.filled, **settings))

    @cached_property
    def receiving(self) -> Server:
        """The service, which callbacks go to, so that its table grows."""
        return self._open.enter_context(self.service("receiving"))

    @cached_property
    def naive_receiving(self) -> Server:
        """The naive app, likewise."""
        return self._peer("naive", self.naive_received)

    @property
    def naive_received(self) -> str:
        """Where that one stores."""
        return f"sqlite:///{self.folder / 'received.db'}"

    @cached_property
    def raw(self) -> Server:
        """Fixed bytes, as many as ours."""
        return self._peer("raw", str(self.noted))

    @cached_property
    def noted(self) -> Path:
        """Our answer, for peers."""
        noted = self.folder / "answer.json"
        raw.write(noted, self.shown.headers, self.shown.body)
        return noted

    @cached_property
    def naive(self) -> Server:
        """The naive app, with as many generations as ours."""
        return self._naive_with_rows(f"sqlite:///{self.folder / 'naive.db'}")

    @cached_property
    def plain(self) -> Server:
        """One plain route of FastAPI."""
        return self._peer("plain", str(self.noted))

    @cached_property
    def filled(self) -> str:
        """A database with a thousand generations."""
        return self.database(_ROWS)

    @cached_property
    def uncached_on_postgres(self) -> Server:
        """The service with a thousand generations on PostgreSQL, which keeps nothing in memory."""
        url = self._on_postgres("uncached")
        asyncio.run(_fill(url, _ROWS))
        return self._open.enter_context(
            self.service("uncached-on-postgres", url, TRACKER_CACHE_SIZE="0")
        )

    @cached_property
    def naive_on_postgres(self) -> Server:
        """The naive app, likewise."""
        return self._naive_with_rows(self._on_postgres("naive"))

    @cached_property
    def receiving_on_postgres(self) -> Server:
        """The service, which callbacks go to."""
        return self._open.enter_context(
            self.service("receiving-on-postgres", self._on_postgres("receiving"))
        )

    @cached_property
    def naive_receiving_on_postgres(self) -> Server:
        """The naive app, likewise."""
        return self._peer("naive", self.naive_received_on_postgres)

    @cached_property
    def naive_received_on_postgres(self) -> str:
        """Where that one stores."""
        return self._on_postgres("naive_received")

    @cached_property
    def generation_id(self) -> str:
        """A completed generation of ours, and of the naive app's."""
        return first_id(ask(self.ours.url, Request(COMPLETED, headers=BEARER)))

    @property
    def reading(self) -> Request:
        """The lookup that is measured."""
        return Request(f"/v1/generations/{self.generation_id}", headers=BEARER)

    @cached_property
    def shown(self) -> Answer:
        """Our answer to it."""
        return ask(self.ours.url, self.reading)

    @contextmanager
    def service(
        self, name: str, database: str | None = None, *options: str, **settings: str
    ) -> Iterator[Server]:
        """`luma-tracker serve` with a copy of that file, or an empty one, or that PostgreSQL."""
        folder = self.folder / name
        with Server(
            folder,
            *("service", "serve", "--port", "0", *options),
            **self.settings(folder, database, **settings),
        ) as server:
            ask(server.url, Request("/readyz"))
            yield server

    def settings(self, folder: Path, database: str | None, **given: str) -> dict[str, str]:
        """The environment of a process of ours that has a folder of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'tracker.db'}"
        if database and not database.startswith("sqlite"):
            url = database
        elif database and not _file_of(url).exists():
            shutil.copy(_file_of(database), _file_of(url))
        return {
            **_KEYLESS,
            "TRACKER_DATABASE_URL": url,
            "TRACKER_CALLBACK_SECRET": _SECRET,
            "TRACKER_API_TOKENS": TOKEN,
            **given,
        }

    def database(self, rows: int) -> str:
        """A file with that many generations."""
        url = f"sqlite:///{self.folder / f'filled-{rows}.db'}"
        if not _file_of(url).exists():
            asyncio.run(_fill(url, rows))
        return url

    @contextmanager
    def peer(self, name: str, *arguments: str, **settings: str) -> Iterator[Server]:
        """One of `benchmarks.peers`."""
        module = f"benchmarks.peers.{name}"
        with Server(self.folder / name, module, *arguments, **settings) as server:
            yield server

    def hammer(
        self,
        server: Server,
        request: Request,
        *,
        connections: int = CONNECTIONS,
        longer: int = 1,
    ) -> Callable[[], Slice]:
        """Slices of one request again and again, so many times as long as usual."""
        seconds = self.seconds * longer

        def load() -> tuple[int, float]:
            if not wrk.installed():
                outcome = self.blow(Same(server.url, connections, seconds, request))
                return outcome.in_time, outcome.seconds
            told = wrk.run(server.url, request, connections, seconds)
            if told.errors:
                raise Wrong(f"{request.path}: {told.errors} errors")
            return told.requests, told.seconds

        return lambda: costing(server, load)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several rows share: made by the first that wants it."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def blow(self, order: Order) -> Outcome:
        """Carry out an order in a process of its own."""
        return self.begin(order).result()

    def begin(self, order: Order) -> Future[Outcome]:
        """The same, while something else is measured."""
        return self._load.submit(blow, order)

    def _naive_with_rows(self, url: str) -> Server:
        now = datetime.now(UTC)
        naive.fill(url, (life.bodies[-1] for life in lives(_ROWS, now)))
        return self._peer("naive", url)

    def _on_postgres(self, name: str) -> str:
        """An empty database on a server of our own, with PostgreSQL's own durability."""
        self._postgres.execute(f"CREATE DATABASE {name}")
        return self._postgres.url(name)

    @cached_property
    def _postgres(self) -> postgres.Server:
        return self._open.enter_context(postgres.serving({}))

    def _peer(self, name: str, *arguments: str) -> Server:
        return self._open.enter_context(self.peer(name, *arguments))

    @cached_property
    def _load(self) -> ProcessPoolExecutor:
        return self._open.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))


def first_id(page: Answer) -> str:
    """The id of the first generation on a page."""
    return page.body.decode().partition('"id":"')[2].partition('"')[0]


def _file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def _fill(url: str, rows: int) -> None:
    unmigrated = open_database(url)
    await unmigrated.exclusively(migrating.upgrade)
    await unmigrated.close()
    async with open_database(url) as database:
        await fill(database, rows, datetime.now(UTC))
