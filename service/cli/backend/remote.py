"""The backend on a running service: its REST API and its gateway, over HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx

from service.cli.backend.answers import NOT_SENT, CutOff, cut_off, error_in, unreachable
from service.cli.backend.contract import By, Created, Filters, Json, Order, Reply, is_over
from service.cli.backend.event_stream import EventStream
from service.cli.backend.remote_backfill import complete
from service.cli.exits import REFUSED, UNREACHABLE, CommandError

_LONGEST_WAIT = 60  # seconds that one request may ask to wait
_LONGEST_CREATE = 100.0  # seconds; the service answers far earlier
_SILENCE = 45.0  # seconds without a heartbeat after which a stream is broken; the service sends 3
_TOLERANCE = 0.1  # seconds of a wait that are not worth another request
_AGAIN = 1.0  # seconds until a broken stream is resumed, or a cut-off create is asked for again
_CREATE_TRIES = 20
_GATEWAYS = {"dream_machine": "dream-machine/v1", "agents": "agents/v1"}


class Remote:
    """Works on a running service.

    Args:
        client: with the URL of the service, and its token.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.name = str(client.base_url).rstrip("/")

    async def generation(
        self, generation_id: str, *, fresh: bool = False, wait: float | None = None
    ) -> Reply:
        """Look a generation up."""
        if wait:
            return await self._wait(generation_id, wait, fresh=fresh)
        return await self._generation(generation_id, 0, fresh=fresh)

    async def _wait(self, generation_id: str, seconds: float, *, fresh: bool) -> Reply:
        """Wait in several requests, also over a restart of the service."""
        clock = asyncio.get_running_loop().time
        deadline, was_reached = clock() + seconds, False
        while True:
            left = max(0.0, deadline - clock())
            try:
                found = await self._generation(generation_id, left, fresh=fresh and not was_reached)
            except CommandError as error:
                was_reached = was_reached or isinstance(error, CutOff)
                if error.code != UNREACHABLE or not was_reached or left <= _TOLERANCE:
                    raise
            else:
                was_reached = True
                if is_over(found.document) or deadline - clock() <= _TOLERANCE:
                    return found
            await asyncio.sleep(min(left, _AGAIN))  # it waited less than asked: it is stopping

    async def _generation(self, generation_id: str, wait: float, *, fresh: bool = False) -> Reply:
        given = {"wait": f"{min(wait, _LONGEST_WAIT):.2f}", "fresh": "true"}
        wanted = {"wait": wait > 0, "fresh": fresh}
        parameters = {name: value for name, value in given.items() if wanted[name]}
        found = await self._get(f"/v1/generations/{_part(generation_id)}", parameters)
        return Reply(found.content, float(found.headers.get("age", 0)))

    async def generations(self, filters: Filters) -> Reply:
        """Return a page of stored generations."""
        return Reply((await self._get("/v1/generations", filters)).content)

    async def events(self, after: int, limit: int) -> Reply:
        """Return a page of changes after a position."""
        return Reply((await self._get("/v1/events", {"after": after, "limit": limit})).content)

    async def events_of(self, generation_id: str, after: int, limit: int) -> Reply:
        """Return a page of the changes of one generation."""
        path = f"/v1/generations/{_part(generation_id)}/events"
        return Reply((await self._get(path, {"cursor": after, "limit": limit})).content)

    async def newest_event(self) -> int:
        """Return the position of the newest change."""
        found = await self._get("/v1/events", {"after": "now", "limit": 1})
        return int(Reply(found.content).document["next_cursor"])

    async def follow(self, after: int) -> AsyncGenerator[list[Json], None]:
        """Yield the changes after a position; a stream that breaks is resumed where it was."""
        stream = EventStream(after)
        while True:
            try:
                async with aclosing(self._stream(stream)) as batches:
                    async for batch in batches:
                        yield batch
            except (httpx.HTTPError, CommandError) as error:
                if isinstance(error, CommandError) and error.code == REFUSED:
                    raise
            yield []
            await asyncio.sleep(_AGAIN)

    async def _stream(self, stream: EventStream) -> AsyncGenerator[list[Json], None]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(stream.position)}
        timeout = httpx.Timeout(_SILENCE, connect=10)
        async with self._client.stream(
            "GET", "/v1/events", headers=headers, timeout=timeout
        ) as answer:
            if not answer.is_success:
                await answer.aread()
                raise error_in(answer)
            async with aclosing(stream.changes(answer.aiter_lines())) as batches:
                async for batch in batches:
                    yield batch

    async def deliveries(self, filters: Filters) -> Reply:
        """Return a page of the inbox, newest first."""
        return Reply((await self._get("/v1/deliveries", filters)).content)

    async def delivery(self, delivery_id: str) -> Reply:
        """Return a delivery with its body."""
        return Reply((await self._get(f"/v1/deliveries/{_part(delivery_id)}")).content)

    async def replay(self, delivery_id: str) -> Reply:
        """Fold a delivery again."""
        return await self._post(f"/v1/deliveries/{_part(delivery_id)}/replay")

    async def create(self, order: Order) -> Created:
        """Create a generation through the gateway.

        Where the connection to the service breaks, it is asked again with the same key, which
        buys nothing again.
        """
        tries = 0
        while True:
            try:
                return _created(await self._order(order))
            except httpx.HTTPError as error:
                nothing_sent = tries == 0 and isinstance(error, NOT_SENT)
                if nothing_sent:
                    raise unreachable(self.name, error) from error
                if tries == _CREATE_TRIES:
                    raise cut_off(self.name, error, order.key) from error
            tries += 1
            await asyncio.sleep(_AGAIN)

    async def _order(self, order: Order) -> httpx.Response:
        return await self._client.post(
            f"/{_GATEWAYS[order.upstream]}/{order.path}",
            content=order.body,
            headers={"Content-Type": "application/json", "Idempotency-Key": order.key},
            timeout=httpx.Timeout(_LONGEST_CREATE, connect=10),
        )

    async def created_by(self, submission_id: str) -> str | None:
        """Return the id of the generation that a create made."""
        found = await self._get(f"/v1/submissions/{_part(submission_id)}")
        made: str | None = found.json()["generation_id"]
        return made

    async def backfill(self, upstream: str | None, since: str | None, *, everything: bool) -> Reply:
        """Have the service read an upstream's list, and wait for the end."""
        return await complete(self._post, self._get, upstream, since, everything=everything)

    async def stats(self, since: str | None, by: By) -> Reply:
        """Return statistics."""
        return Reply((await self._get("/v1/stats", {"since": since, "by": by})).content)

    async def webhooks(self) -> Reply:
        """Return the endpoints."""
        return Reply((await self._get("/v1/webhooks")).content)

    async def add_webhook(self, wanted: Json) -> Reply:
        """Add an endpoint."""
        return await self._post("/v1/webhooks", wanted)

    async def remove_webhook(self, webhook_id: str) -> None:
        """Remove an endpoint."""
        await self._ask("DELETE", f"/v1/webhooks/{_part(webhook_id)}")

    async def test_webhook(self, webhook_id: str) -> Reply:
        """Send a test message."""
        return await self._post(f"/v1/webhooks/{_part(webhook_id)}/test")

    async def attempts(self, webhook_id: str, filters: Filters) -> Reply:
        """Return a page of attempts."""
        path = f"/v1/webhooks/{_part(webhook_id)}/attempts"
        return Reply((await self._get(path, filters)).content)

    async def replay_attempt(self, webhook_id: str, attempt_id: str) -> Reply:
        """Send the message of an attempt again."""
        path = f"/v1/webhooks/{_part(webhook_id)}/attempts/{_part(attempt_id)}/replay"
        return await self._post(path)

    async def _get(self, path: str, parameters: Filters | None = None) -> httpx.Response:
        given = {name: value for name, value in (parameters or {}).items() if value or value == 0}
        return await self._ask("GET", path, params=given)

    async def _post(self, path: str, body: Json | None = None) -> Reply:
        return Reply((await self._ask("POST", path, json=body)).content)

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request.

        Raises:
            CommandError: the service cannot be reached, or refused; with its exit code.
        """
        try:
            answer = await self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise unreachable(self.name, error) from error
        if not answer.is_success:
            raise error_in(answer)
        return answer


def client_for(url: str, token: str | None) -> httpx.AsyncClient:
    """Return a client of a service."""
    headers = {
        "User-Agent": "luma-tracker",
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }
    timeout = httpx.Timeout(_LONGEST_WAIT + 30, connect=10)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)


def _created(answer: httpx.Response) -> Created:
    repeated = "idempotency-replayed" in answer.headers
    submission_id = answer.headers.get("x-submission-id", "")
    return Created(answer.status_code, answer.content, submission_id, repeated)


def _part(value: str) -> str:
    """Quote a part of a path."""
    return quote(value, safe="") or "%20"
