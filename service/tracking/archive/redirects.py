"""Where readers are sent for an asset that is not kept: Luma's URL, fetched anew if it has died."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from service.errors import StoreUnavailable
from service.storage import generations
from service.storage.engine import Database
from service.storage.representation import Representation
from service.tracking.archive.assets import urls_of
from service.tracking.archive.download import is_dead
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Undeliverable
from service.tracking.fetcher import Fetcher
from service.tracking.single_flight import SingleFlight

_PATIENCE = 2.0  # seconds for a look at a URL; a reader waits
_AT_ONCE = 16  # looks; fewer than the dialler has threads, which copies need too
_LIFETIME = timedelta(minutes=1)
_MAX_ENTRIES = 4096
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": "bytes=0-0"}


class Redirects:
    """Looks whether URLs are alive before readers are sent to them.

    A URL whose signature says when it expires needs no look: the lookup has fetched it anew. A URL
    that only a callback has claimed is not dialled, and neither is one that could not be renewed.

    Args:
        database: open, and migrated.
        dialler: sends the requests.
        fetcher: fetches generations whose URLs have died.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        dialler: Dialler,
        fetcher: Fetcher,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._dialler = dialler
        self._fetcher = fetcher
        self._single_flight: SingleFlight[str] = SingleFlight()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._recent = Recent(clock)

    async def close(self) -> None:
        """Cancel all looks."""
        await self._single_flight.close()

    async def living(self, found: Representation, name: str, url: str) -> str:
        """Return the URL of an asset; the one that Luma names now, if this one has died.

        What was found out is remembered for a minute. Concurrent callers share one look.

        Args:
            found: the generation.
            name: of the asset, as `urls_of` names it.
            url: of the asset, as the generation has it.

        Returns:
            The same URL also if it cannot be reached, or if Luma or the database cannot be asked.
        """
        renewable = self._fetcher.has_key_for(found.upstream) and found.assets_expire_at is None
        if not renewable or _key(found.id, url) in self._recent:
            return url
        look = partial(self._look, found.id, name, url)
        with suppress(StoreUnavailable):
            return await self._single_flight.join(_key(found.id, url), look)
        return url

    async def _look(self, generation_id: str, name: str, url: str) -> str:
        row = await self._database.read(generations.find, generation_id)
        if row is None or not row.verified:
            return url
        if not await self._is_dead(url):
            self._recent.add(_key(generation_id, url))
            return url
        asked = await self._fetcher.refresh(generation_id)
        row = await self._database.read(generations.find, generation_id) or row
        named = urls_of(row.assets, row.outputs).get(name, url)
        if asked:
            self._recent.add(_key(generation_id, url), _key(generation_id, named))
        return named

    async def _is_dead(self, url: str) -> bool:
        """Ask for the first byte; False also if nothing is known."""
        try:
            async with asyncio.timeout(_PATIENCE), self._slots:
                return await self._dialler.download(
                    url, _HEADERS, lambda answer: is_dead(answer.status)
                )
        except (Undeliverable, TimeoutError):
            return False


class Recent:
    """Keys of the last minute, in bounded number."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._added: dict[str, datetime] = {}

    def add(self, *keys: str) -> None:
        """Add keys as of now."""
        if len(self._added) >= _MAX_ENTRIES:
            self._added.clear()
        self._added |= dict.fromkeys(keys, self._clock())

    def __contains__(self, key: str) -> bool:
        """Whether a key was added within the last minute."""
        now, at = self._clock(), self._added.get(key)
        return at is not None and at <= now < at + _LIFETIME  # a later time: the clock was ahead


def _key(generation_id: str, url: str) -> str:
    return f"{generation_id} {url}"
