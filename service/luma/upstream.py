"""An upstream as the rest of the service uses it: a name, and a way to fetch a generation."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from service.domain.generation import Observation, Source
from service.domain.request_budget import Purpose
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import (
    NotFound,
    NotSent,
    TrackerError,
    Unreadable,
    UpstreamError,
    UpstreamNonsense,
    UpstreamUnavailable,
)
from service.luma import agents, dream_machine
from service.luma.admission import AdmissionControl
from service.luma.bodies import parse_object
from service.luma.client import LumaClient
from service.luma.lists import ListPage, Reader, read_page
from service.luma.relay import Incoming, Outgoing, unavailable

T = TypeVar("T")
_READERS: Mapping[str, Reader] = {
    DREAM_MACHINE: dream_machine.read,
    AGENTS: agents.read,
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of Luma's APIs, with our key for it."""

    name: str
    base_url: str
    api_key: str
    client: LumaClient
    admission: AdmissionControl
    clock: Callable[[], datetime]

    @property
    def read(self) -> Reader:
        """Parses one generation of this API."""
        return _READERS[self.name]

    async def fetch(self, generation_id: str, purpose: Purpose = Purpose.READ) -> Observation:
        """Fetch one generation, with one request within the request budget.

        Raises:
            NotFound: the upstream does not know the generation.
            UpstreamError: the request was not admitted, or failed.
        """
        if generation_id in (".", ".."):  # in a path these would address another resource
            raise NotFound(f"{generation_id} is unknown to {self.name}.")
        read = partial(self._read, generation_id=generation_id)
        return await self._get(f"generations/{generation_id}", purpose, read)

    async def list_page(
        self, offset: int, limit: int, purpose: Purpose, source: Source
    ) -> ListPage:
        """Fetch a page of the list of all generations, with one request within the request budget.

        Args:
            offset: the number of generations to skip; Luma lists the newest first.
            limit: the maximum number of generations.
            purpose: the share of the budget to use.
            source: the source of the observations.

        Raises:
            NotFound: the upstream has no list.
            UpstreamError: the request was not admitted, or failed.
        """
        read = partial(self._read_page, source=source, limit=limit)
        return await self._get(f"generations?limit={limit}&offset={offset}", purpose, read)

    async def send(
        self,
        outgoing: Outgoing,
        timeout: float | None = None,
        *,
        after: Awaitable[object] | None = None,
    ) -> Incoming:
        """Pass a caller's request on, within the request budget; the caller closes the answer.

        An error that Luma answers is an answer as any other, but the circuit breaker learns of it.

        Args:
            outgoing: the request.
            timeout: seconds to wait for the request budget; None: the usual time.
            after: must have ended before a byte is sent; the budget is waited for meanwhile.

        Raises:
            NotSent: no byte of the request was sent.
            UpstreamUnavailable: there was no answer.
            Exception: what `after` raised; no byte was sent.
        """
        answer: Incoming | None = None
        try:
            async with self.admission.admit(Purpose.READ, timeout):
                if after:
                    await after
                answer = await self._send_within(outgoing)
                if error := unavailable(self.name, outgoing.method, answer.status, answer.headers):
                    raise error
        except UpstreamUnavailable:
            if answer is None:
                raise
        return answer

    async def _send_within(self, outgoing: Outgoing) -> Incoming:
        try:
            async with asyncio.timeout(outgoing.total):
                return await self.client.send(self.name, self.base_url, self.api_key, outgoing)
        except TimeoutError as error:
            raise _no_answer_in_time(self.name, outgoing) from error

    async def _get(self, path: str, purpose: Purpose, read: Callable[[bytes], T]) -> T:
        """Send a GET, and parse its answer; an answer that cannot be parsed counts as a failure."""
        url = f"{self.base_url.rstrip('/')}/{path}"
        headers = {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}
        async with self.admission.admit(purpose):
            return read(await self.client.get(self.name, url, headers))

    def _read_page(self, body: bytes, source: Source, limit: int) -> ListPage:
        try:
            return read_page(body, self.read, source, self.clock(), limit=limit)
        except Unreadable as error:
            message = f"{self.name} answered 200, but not with a list of generations. {error}"
            raise UpstreamNonsense(self.name, message) from error

    def _read(self, body: bytes, generation_id: str) -> Observation:
        try:
            observation = self.read(parse_object(body), Source.FETCH, self.clock())
        except Unreadable as error:
            message = f"{self.name} answered 200 with an unusable body. {error}"
            raise UpstreamNonsense(self.name, message) from error
        if observation.id != generation_id:
            message = (
                f"{self.name} returned generation {observation.id} instead of {generation_id}."
            )
            raise UpstreamNonsense(self.name, message)
        return observation


def _no_answer_in_time(upstream: str, outgoing: Outgoing) -> UpstreamUnavailable:
    message = f"{upstream} did not answer within {outgoing.total:g} s."
    return (UpstreamUnavailable if outgoing.progress.sent else NotSent)(upstream, message)


async def fetch_from_any(
    upstreams: Sequence[Upstream], generation_id: str, purpose: Purpose = Purpose.READ
) -> Observation:
    """Fetch from all upstreams concurrently; the first that knows the generation wins.

    Raises:
        NotFound: no upstream knows the generation.
        UpstreamError: no upstream returned it, and at least one request failed.
    """
    fetches = [
        asyncio.create_task(upstream.fetch(generation_id, purpose)) for upstream in upstreams
    ]
    failures: list[UpstreamError] = []
    unknown: list[NotFound] = []
    try:
        for fetch in asyncio.as_completed(fetches):
            try:
                return await fetch
            except NotFound as error:
                unknown.append(error)
            except UpstreamError as error:
                failures.append(error)
    finally:
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
    result = _no_result(generation_id, [u.name for u in upstreams], failures)
    if len(upstreams) == 1 and unknown:
        result.answer = unknown[0].answer
    raise result


def _no_result(generation_id: str, names: list[str], failures: list[UpstreamError]) -> TrackerError:
    """Choose the error to raise; a temporary failure takes precedence over a permanent one."""
    if failures:
        return min(failures, key=lambda error: not isinstance(error, UpstreamUnavailable))
    if not names:
        return NotFound(
            f"{generation_id} is not stored, and no API key is set to fetch it from Luma.",
            "Set LUMAAI_API_KEY (Dream Machine) or LUMA_AGENTS_API_KEY (Agents API).",
        )
    return NotFound(f"{generation_id} is unknown to {' and '.join(names)}.")
