"""Sends callbacks by Luma's rule.

    "If the endpoint returns a status code other than 200, it will be retried max 3 times
    with 100ms delay and the request has a 5s timeout."

Therefore 201 and 204 fail as well, a redirect counts as a failure and is not followed, and after
four attempts the receiver never gets the state. Callbacks of one generation are sent one after
another, those of different generations in parallel.
"""

import asyncio
import ssl
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

ATTEMPTS = 4
"""The first attempt and three retries."""
PAUSE = 0.1
"""Real seconds between two attempts."""
TIMEOUT = 5.0
"""Real seconds for one attempt, in total."""
MAX_CONCURRENT = 100
"""More would exhaust sockets under load. Waiting for a slot does not count towards the timeout."""

_ACCEPTED = 200
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Callback:
    """One state of one generation, to be sent to one URL."""

    url: str
    generation_id: str
    state: str
    body: bytes


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One POST that was sent, or not sent because its URL is not on this machine."""

    url: str
    generation_id: str
    state: str
    attempt: int
    """Counts from 1 for each callback."""
    status: int | None
    """The receiver's status; None: timeout, no connection, or not sent."""
    at: float
    """When it started, in seconds of `time.monotonic()`."""


class Sender:
    """Sends callbacks on the running loop; `attempts` records the results in order."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.attempts: list[CallbackAttempt] = []
        self._timeout = timeout
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._waiting: defaultdict[str, deque[Callback]] = defaultdict(deque)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._client = _client()

    def send(self, callback: Callback, times: int = 1) -> None:
        """Queue a callback after the others of its generation, `times` times."""
        self._waiting[callback.generation_id].extend([callback] * times)
        if callback.generation_id not in self._tasks:
            sending = self._send_queued(callback.generation_id)
            self._tasks[callback.generation_id] = asyncio.create_task(sending)

    async def settle(self, within: float) -> None:
        """Wait until every callback is delivered or has failed.

        Raises:
            TimeoutError: callbacks are still in progress after `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while self._tasks:
                    await asyncio.wait(self._tasks.values())
        except TimeoutError as error:
            late = ", ".join(self._tasks)
            raise TimeoutError(f"callbacks still in progress after {within} s: {late}") from error

    async def deliver(self) -> None:
        """Wait until the callbacks that are in progress now are delivered or have failed."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """Cancel the callbacks in progress, and close the connections."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _send_queued(self, generation_id: str) -> None:
        try:
            waiting = self._waiting[generation_id]
            while waiting:
                await self._deliver(waiting.popleft())
        finally:
            del self._waiting[generation_id]
            del self._tasks[generation_id]

    async def _deliver(self, callback: Callback) -> None:
        """Try until the receiver accepts it or no attempts are left."""
        if not _is_local(callback.url):
            self._record(callback, 1, None, time.monotonic())
            return
        for attempt in range(1, ATTEMPTS + 1):
            if await self._attempt(callback, attempt) == _ACCEPTED:
                return
            if attempt < ATTEMPTS:
                await asyncio.sleep(PAUSE)

    async def _attempt(self, callback: Callback, attempt: int) -> int | None:
        async with self._slots:
            at = time.monotonic()
            status = await self._post(callback)
        self._record(callback, attempt, status, at)
        return status

    async def _post(self, callback: Callback) -> int | None:
        """Send one POST, and return the status; None if there was no answer in time."""
        headers = {"content-type": "application/json"}
        try:
            async with asyncio.timeout(self._timeout):  # httpx's timeout applies to each read
                answer = await self._client.post(
                    callback.url, content=callback.body, headers=headers
                )
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.status_code

    def _record(self, callback: Callback, attempt: int, status: int | None, at: float) -> None:
        attempted = CallbackAttempt(
            callback.url, callback.generation_id, callback.state, attempt, status, at
        )
        self.attempts.append(attempted)


def _client() -> httpx.AsyncClient:
    # Idle connections expire early: reuse must not race with the receiver's own timeout.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    # No certificates: it connects to this machine only, and loading them takes 40 ms per start.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # No timeout: the sender has its own for the complete attempt.
    return httpx.AsyncClient(trust_env=False, timeout=None, limits=limits, verify=tls)  # noqa: S113


def _is_local(url: str) -> bool:
    """Whether the URL is on this machine: the simulator must not send to other hosts."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # such as a port above 65535, or the host `[::1`
        return False
    return port != 0 and parts.hostname in _LOOPBACK
