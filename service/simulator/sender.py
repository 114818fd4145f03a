"""Luma's callback rule, to the letter.

    "If the endpoint returns a status code other than 200, it will be retried max 3 times
    with 100ms delay and the request has a 5s timeout."

So 201 and 204 fail as well, a redirect is an answer like any other and is not followed, and
after four attempts the state is lost to the receiver. Callbacks of one generation go out one
after another, those of different generations side by side.
"""

import asyncio
import ssl
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

ATTEMPTS = 4
"""The first and three retries."""
PAUSE = 0.1
"""Real seconds between a failed attempt and the next."""
TIMEOUT = 5.0
"""Real seconds for one attempt, all in all."""
AT_A_TIME = 100
"""More would run out of sockets under load; the wait for a turn is not part of the timeout."""

_ACCEPTED = 200
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Callback:
    """One state of one generation, to be told to one URL."""

    url: str
    generation_id: str
    state: str
    body: bytes


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One POST that was made, or refused because it would have left this machine."""

    url: str
    generation_id: str
    state: str
    attempt: int
    """From 1, anew for each callback."""
    status: int | None
    """What the receiver answered; None: nothing in time, no connection, or refused."""
    at: float
    """When it began, in seconds of `time.monotonic()`."""


class Sender:
    """Sends callbacks on the running loop; `attempts` holds what came of it, in order."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.attempts: list[CallbackAttempt] = []
        self._timeout = timeout
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._waiting: defaultdict[str, deque[Callback]] = defaultdict(deque)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._client = _client()

    def send(self, callback: Callback, times: int = 1) -> None:
        """Queue a callback behind the others of its generation; it goes out `times` over."""
        self._waiting[callback.generation_id].extend([callback] * times)
        if callback.generation_id not in self._tasks:
            work = self._work_off(callback.generation_id)
            self._tasks[callback.generation_id] = asyncio.create_task(work)

    async def settle(self, within: float) -> None:
        """Wait until every callback is delivered or given up; TimeoutError after `within` s."""
        try:
            async with asyncio.timeout(within):
                while self._tasks:
                    await asyncio.wait(self._tasks.values())
        except TimeoutError as error:
            late = ", ".join(self._tasks)
            raise TimeoutError(f"callbacks still under way after {within} s: {late}") from error

    async def close(self) -> None:
        """Drop what is under way and close the connections."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _work_off(self, generation_id: str) -> None:
        try:
            waiting = self._waiting[generation_id]
            while waiting:
                await self._deliver(waiting.popleft())
        finally:
            del self._waiting[generation_id]
            del self._tasks[generation_id]

    async def _deliver(self, callback: Callback) -> None:
        """Try until it is accepted or the attempts are used up."""
        if not _stays_here(callback.url):
            self._note(callback, 1, None, time.monotonic())
            return
        for attempt in range(1, ATTEMPTS + 1):
            if await self._attempt(callback, attempt) == _ACCEPTED:
                return
            if attempt < ATTEMPTS:
                await asyncio.sleep(PAUSE)

    async def _attempt(self, callback: Callback, attempt: int) -> int | None:
        async with self._turns:
            at = time.monotonic()
            status = await self._post(callback)
        self._note(callback, attempt, status, at)
        return status

    async def _post(self, callback: Callback) -> int | None:
        """The status of one POST; None when there was no answer in time."""
        headers = {"content-type": "application/json"}
        try:
            async with asyncio.timeout(self._timeout):  # httpx would count each read anew
                answer = await self._client.post(
                    callback.url, content=callback.body, headers=headers
                )
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.status_code

    def _note(self, callback: Callback, attempt: int, status: int | None, at: float) -> None:
        noted = CallbackAttempt(
            callback.url, callback.generation_id, callback.state, attempt, status, at
        )
        self.attempts.append(noted)


def _client() -> httpx.AsyncClient:
    # A short life for idle connections: reuse must not race with the receiver's own timeout.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    # No certificates: it only ever talks to this machine, and reading them costs 40 ms a start.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # No timeout: the sender has its own, for the attempt as a whole.
    return httpx.AsyncClient(trust_env=False, timeout=None, limits=limits, verify=tls)  # noqa: S113


def _stays_here(url: str) -> bool:
    """Whether a POST would stay on this machine: a stand-in must not disturb real hosts."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # no port is above 65535, and no host is `[::1`
        return False
    return port != 0 and parts.hostname in _LOOPBACK
