"""One upstream as the tracker sees it: a name, and a way to ask for a generation."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.domain.generation import Observation, Source
from service.domain.request_budget import Purpose
from service.errors import (
    NotFound,
    Unreadable,
    UpstreamError,
    UpstreamNonsense,
    UpstreamUnavailable,
)
from service.luma import agents, dream_machine
from service.luma.admission import AdmissionControl
from service.luma.client import LumaClient
from service.luma.reading import parse_object

Reader = Callable[[Mapping[str, Any], Source, datetime], Observation]


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of Luma's APIs, with our key to it."""

    name: str
    base_url: str
    api_key: str
    read: Reader
    client: LumaClient
    admission: AdmissionControl
    clock: Callable[[], datetime]

    async def fetch(self, generation_id: str, purpose: Purpose = Purpose.READ) -> Observation:
        """Ask for one generation; one request, inside the budget.

        Raises:
            NotFound: the upstream does not know it.
            UpstreamError: it could not tell us.
        """
        if generation_id in (".", ".."):  # a path that ends so is another one
            raise NotFound(f"{generation_id} is unknown to {self.name}.")
        url = f"{self.base_url.rstrip('/')}/generations/{generation_id}"
        headers = {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}
        async with self.admission.admit(purpose):
            return self._read(await self.client.get(self.name, url, headers), generation_id)

    def _read(self, body: bytes, generation_id: str) -> Observation:
        try:
            seen = self.read(parse_object(body), Source.FETCH, self.clock())
        except Unreadable as error:
            raise UpstreamNonsense(self.name, f"{self.name} answered 200, but: {error}") from error
        if seen.id != generation_id:
            raise UpstreamNonsense(
                self.name, f"{self.name} was asked for {generation_id} and answered {seen.id}."
            )
        return seen


def dream_machine_upstream(
    base_url: str,
    api_key: str,
    client: LumaClient,
    admission: AdmissionControl,
    clock: Callable[[], datetime],
) -> Upstream:
    """Dream Machine v1."""
    return Upstream(
        dream_machine.NAME, base_url, api_key, dream_machine.read, client, admission, clock
    )


def agents_upstream(
    base_url: str,
    api_key: str,
    client: LumaClient,
    admission: AdmissionControl,
    clock: Callable[[], datetime],
) -> Upstream:
    """The Agents API."""
    return Upstream(agents.NAME, base_url, api_key, agents.read, client, admission, clock)


async def ask_all(
    upstreams: Sequence[Upstream], generation_id: str, purpose: Purpose = Purpose.READ
) -> Observation:
    """Ask every upstream at once; the first that knows the generation wins.

    Raises:
        NotFound: none knows it.
        UpstreamError: none knows it for certain, since one or more could not tell.
    """
    asked = [asyncio.create_task(upstream.fetch(generation_id, purpose)) for upstream in upstreams]
    failures: list[UpstreamError] = []
    try:
        for answer in asyncio.as_completed(asked):
            try:
                return await answer
            except NotFound:
                continue
            except UpstreamError as error:
                failures.append(error)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise _verdict(generation_id, [u.name for u in upstreams], failures)


def _verdict(generation_id: str, names: list[str], failures: list[UpstreamError]) -> Exception:
    """What to say when nobody knew it: a failure that may pass goes before one that will not."""
    if failures:
        return min(failures, key=lambda error: not isinstance(error, UpstreamUnavailable))
    if not names:
        return NotFound(
            f"{generation_id} is not stored, and there is no API key to ask Luma with.",
            "Set LUMAAI_API_KEY (Dream Machine) or LUMA_AGENTS_API_KEY (Agents API).",
        )
    return NotFound(f"{generation_id} is unknown to {' and '.join(names)}.")
