"""Admission control for requests to an upstream: rate limiter, circuit breaker and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.domain.request_budget import Purpose, Rate
from service.errors import (
    BudgetSpent,
    NoneFree,
    NotFound,
    NotSent,
    UpstreamError,
    UpstreamUnavailable,
)
from service.logs import log
from service.luma.circuit_breaker import CircuitBreaker
from service.luma.rate_limiter import RateLimiter, RequestLog
from service.metrics import BREAKER_OPEN, BUDGET_LEFT, REQUESTS

_TIMEOUTS = {Purpose.READ: 2.0, Purpose.VERIFY: 0.0, Purpose.RECONCILE: 0.0}
"""Seconds that a request waits for the rate limiter. Background purposes do not wait: they are
retried later anyway, and a waiting one would hold up reads of the same generation."""


class AdmissionControl:
    """Admits requests to one upstream.

    Args:
        upstream: the upstream's name, for metrics and error messages.
        rate: the rate limit.
        request_log: where several processes record their requests, if they share the rate.
    """

    def __init__(self, upstream: str, rate: Rate, request_log: RequestLog | None = None) -> None:
        self.rate = rate
        """The rate limit; lower than configured if the upstream says so."""
        self._upstream = upstream
        self._limiter = RateLimiter(rate, log=request_log)
        self._breaker = CircuitBreaker()
        BREAKER_OPEN.labels(upstream).set_function(lambda: float(self._breaker.is_open))
        BUDGET_LEFT.labels(upstream).set_function(lambda: float(self._limiter.left))

    async def refresh(self) -> None:
        """Read how much of the request budget other processes have used."""
        await self._limiter.refresh()

    def available(self, purpose: Purpose) -> int:
        """Return how many requests for this purpose would be admitted now."""
        return 0 if self._breaker.is_open else self._limiter.available(purpose)

    @asynccontextmanager
    async def admit(self, purpose: Purpose, timeout: float | None = None) -> AsyncIterator[None]:
        """Admit one request, which the caller makes inside this context.

        Args:
            purpose: the share of the budget to use.
            timeout: seconds to wait for the rate limiter; None: the usual time for the purpose.

        Raises:
            NotSent: the request is not admitted now and must not be made.
        """
        epoch = await self._begin(purpose, _TIMEOUTS[purpose] if timeout is None else timeout)
        result = "abandoned"
        try:
            yield
            result = "ok"
        except NoneFree:
            raise
        except UpstreamUnavailable as error:
            result = "unavailable"
            self._record_failure(epoch, error)
            raise
        except (UpstreamError, NotFound) as error:
            result = type(error).__name__.removeprefix("Upstream").lower()
            raise
        finally:
            self._record_result(epoch, result)
            REQUESTS.labels(self._upstream, purpose.name.lower(), result).inc()

    async def _begin(self, purpose: Purpose, timeout: float) -> int:
        """Pass the rate limiter and the breaker; returns the breaker's epoch."""
        self._refuse_while_paused()
        delay = await self._limiter.acquire(purpose, timeout)
        self._refuse_for(delay, "has reached its rate limit", BudgetSpent)
        self._refuse_while_paused()  # the breaker may have opened during `acquire`
        return self._breaker.begin()

    def _refuse_while_paused(self) -> None:
        self._refuse_for(self._breaker.resumes_in(), "is paused after failures")

    def _refuse_for(self, seconds: float, reason: str, error: type[NotSent] = NotSent) -> None:
        if seconds > 0:
            message = f"{self._upstream} {reason}; retry in {seconds:.0f} s."
            raise error(self._upstream, message, retry_after=seconds)

    def _record_failure(self, epoch: int, error: UpstreamUnavailable) -> None:
        if error.limit:
            self._lower_rate(error.limit)
        if error.from_upstream:
            self._breaker.pause(error.retry_after)
        else:
            self._breaker.record_failure(epoch)

    def _lower_rate(self, per_minute: int) -> None:
        """Apply the upstream's own rate limit if it is lower than the configured one."""
        if per_minute / 60 < self.rate.per_second:
            self.rate = Rate(per_minute, 60.0, self.rate.polled)
            self._limiter.rate = self.rate
            log.warning("rate_lowered", upstream=self._upstream, rate=f"{per_minute}/minute")

    def _record_result(self, epoch: int, result: str) -> None:
        if result == "abandoned":
            self._breaker.record_abandoned(epoch)
        elif result != "unavailable":
            self._breaker.record_success(epoch)  # an error response also shows that it is up
