"""Watches generations until all are settled: terminal, or gone at Luma.

    stream of changes ──ids──►┐
                              ├──► due ──look up──► changed documents ──► shown
    every 5 s, open ones ────►┘

The stream says that something changed, at once. Asking now and then makes the tracker ask Luma
about what has gone quiet, where no service does.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress

from service.cli.backend.contract import Backend, Filters, Json, is_over
from service.domain.generation import is_terminal
from service.errors import NotFound, TrackerError

_INTERVAL = 5.0  # seconds between two rounds of questions
_ASKED_AT_ONCE = 20  # generations in one round
_PAGE = 200
_MOST = 1000  # generations, if none are named

Show = Callable[[Json], None]
Warn = Callable[[str], None]


class Watch:
    """Watches generations.

    Args:
        backend: where they are.
        ids: which; empty: all that are open, and those that begin meanwhile.
        show: called with each generation first, and then whenever it has changed.
        warn: called with a new reason why nothing can be heard.
    """

    def __init__(
        self, backend: Backend, ids: Sequence[str], show: Show, warn: Warn = lambda _reason: None
    ) -> None:
        self.generations: dict[str, Json] = {}
        self.trouble = ""
        """Why nothing can be heard at the moment."""
        self._backend = backend
        self._ids = ids
        self._show, self._warn = show, warn
        self._due: dict[str, None] = {}
        self._is_due = asyncio.Event()

    @property
    def open(self) -> list[str]:
        """The ids of those that are not settled."""
        return [id_ for id_, each in self.generations.items() if not is_over(each)]

    async def run(self, seconds: float | None = None) -> None:
        """Watch until all are settled, or for so many seconds.

        Raises:
            TrackerError: a named generation cannot be looked up at the beginning.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                position = await self._backend.newest_event()
                await self._begin()
                if self.open:
                    await self._until_settled(position)

    async def _begin(self) -> None:
        if not self._ids:
            for generation in await self._all_open():
                self._learn(generation)
        for generation_id in self._ids:
            self._learn((await self._backend.generation(generation_id, wait=0)).document)

    async def _all_open(self) -> list[Json]:
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < _MOST:
            filters: Filters = {"q": "is:open", "limit": _PAGE, "cursor": cursor}
            page = await self._backend.generations(filters)
            found += page.items
            cursor = page.document["next_cursor"]
            if cursor is None:
                break
        return found[::-1]

    async def _until_settled(self, position: int) -> None:
        reading = [
            asyncio.create_task(self._follow(position), name="follow"),
            asyncio.create_task(self._ask(), name="ask"),
        ]
        try:
            while self.open:
                await self._is_due.wait()
                await self._look_up_due()
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _follow(self, position: int) -> None:
        async with aclosing(self._backend.follow(position)) as batches:
            async for changes in batches:
                for change in filter(self._concerns, changes):
                    self._look_up_soon(change["generation_id"])

    def _concerns(self, change: Json) -> bool:
        """Whether a change is of a watched generation, or begins one."""
        known = change["generation_id"] in self.generations
        return known or not (self._ids or is_terminal(change["to_state"]))

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            for generation_id in self.open[:_ASKED_AT_ONCE]:
                self._look_up_soon(generation_id)
                self.generations[generation_id] = self.generations.pop(generation_id)

    def _look_up_soon(self, generation_id: str) -> None:
        self._due[generation_id] = None
        self._is_due.set()

    async def _look_up_due(self) -> None:
        self._is_due.clear()
        due, self._due = [*self._due], {}
        for generation_id in due:
            try:
                found = await self._backend.generation(generation_id, wait=0)
            except NotFound:
                continue
            except TrackerError as error:  # it is asked for again in the next round
                self._note(f"{error} {error.hint}".strip())
                continue
            self.trouble = ""
            self._learn(found.document)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._warn(trouble)

    def _learn(self, generation: Json) -> None:
        """Keep a generation, and show it if it is new or has changed."""
        known = self.generations.get(generation["id"])
        self.generations[generation["id"]] = generation
        if known is None or known["rev"] != generation["rev"]:
            self._show(generation)
