"""Admission control: a request to an upstream is within its rate, past the breaker, and counted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.domain.request_budget import Purpose, Rate
from service.errors import NotFound, UpstreamError, UpstreamUnavailable
from service.luma.circuit_breaker import CircuitBreaker
from service.luma.rate_limiter import RateLimiter, RequestLog
from service.metrics import BREAKER_OPEN, BUDGET_LEFT, REQUESTS

_TIMEOUTS = {Purpose.READ: 2.0, Purpose.VERIFY: 0.0, Purpose.RECONCILE: 0.0}
"""Seconds that a request waits for leave. What is not urgent comes again by itself, so no person
waits behind it."""


class AdmissionControl:
    """Admits requests to one upstream, one by one."""

    def __init__(self, upstream: str, rate: Rate, log: RequestLog | None = None) -> None:
        self._upstream = upstream
        self._limiter = RateLimiter(rate, log=log)
        self._breaker = CircuitBreaker()
        BREAKER_OPEN.labels(upstream).set_function(lambda: float(self._breaker.is_open))
        BUDGET_LEFT.labels(upstream).set_function(lambda: float(self._limiter.left))

    async def refresh(self) -> None:
        """Look what others have spent of the budget."""
        await self._limiter.refresh()

    def available(self, purpose: Purpose) -> int:
        """How many such requests may go just now."""
        return 0 if self._breaker.is_open else self._limiter.available(purpose)

    @asynccontextmanager
    async def admit(self, purpose: Purpose) -> AsyncIterator[None]:
        """Make one request inside this context.

        Raises:
            UpstreamUnavailable: it may not go now; nothing was asked.
        """
        turn = await self._enter(purpose)
        result = "abandoned"
        try:
            yield
            result = "ok"
        except UpstreamUnavailable as error:
            result = "unavailable"
            self._failed(turn, error)
            raise
        except (UpstreamError, NotFound) as error:
            result = type(error).__name__.removeprefix("Upstream").lower()
            raise
        finally:
            self._settle(turn, result)
            REQUESTS.labels(self._upstream, purpose.name.lower(), result).inc()

    async def _enter(self, purpose: Purpose) -> int:
        """Wait for room; the breaker may open meanwhile."""
        left_alone = "is left alone after it failed"
        self._refuse_for(self._breaker.resumes_in(), left_alone)
        delay = await self._limiter.acquire(purpose, _TIMEOUTS[purpose])
        self._refuse_for(delay, "has had all the requests that it allows")
        self._refuse_for(self._breaker.resumes_in(), left_alone)
        return self._breaker.enter()

    def _refuse_for(self, seconds: float, why: str) -> None:
        if seconds > 0:
            message = f"{self._upstream} {why}; it can be asked again in {seconds:.0f} s."
            raise UpstreamUnavailable(self._upstream, message, retry_after=seconds)

    def _failed(self, turn: int, error: UpstreamUnavailable) -> None:
        if error.told:
            self._breaker.pause(error.retry_after)
        else:
            self._breaker.failed(turn)

    def _settle(self, turn: int, result: str) -> None:
        if result == "abandoned":
            self._breaker.abandoned(turn)
        elif result != "unavailable":
            self._breaker.succeeded(turn)  # it is up, whatever it said
