"""The running simulator, as the outside sees it: URLs, controls and a record of what happened."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from service.simulator.answers import answer
from service.simulator.creates import unasked
from service.simulator.engine import Engine
from service.simulator.faults import Fault, Faults
from service.simulator.sender import CallbackAttempt
from service.simulator.traffic import RequestSeen, Traffic
from service.simulator.world import Plan, Upstream

T = TypeVar("T")

SETTLE = 30.0
"""Real seconds that callbacks may take after the clock was moved."""
_HOP = 10.0
"""Real seconds for a call to reach the simulator's loop; more means that it hangs."""


class Luma:
    """Made by `Simulator.running()` and `.serving()`; every method may be called from any thread.

    What changes something is carried out on the simulator's own loop, so nothing needs a lock.
    """

    def __init__(self, engine: Engine, traffic: Traffic, faults: Faults, origin: str) -> None:
        self.dream_machine_url = f"{origin}/dream-machine/v1"
        self.agents_url = f"{origin}/agents/v1"
        self._engine = engine
        self._traffic = traffic
        self._faults = faults
        self._loop = asyncio.get_running_loop()

    def create(
        self,
        operation: str = "video",
        id: str | None = None,  # noqa: A002 - Luma's word
        plan: Plan | None = None,
        callback_url: str | None = None,
        upstream: Upstream = "dream_machine",
        prompt: str | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> str:
        """Make a generation without a request; returns its id.

        `fields` are further fields of the operation's create, as Luma names them. Without a
        `plan` the simulator's own choice by prompt holds. ValueError when the id is taken or the
        operation or a field is unknown to the upstream.
        """
        given = {"prompt": prompt, "model": model, "callback_url": callback_url, **fields}
        given = {name: value for name, value in given.items() if value is not None}
        chosen, request = unasked(upstream, operation, given)
        return self._on_loop(
            lambda: (
                self._engine.create(
                    upstream, operation, chosen, request, generation_id=id, plan=plan
                ).id
            )
        )

    def advance(self, seconds: float, within: float = SETTLE) -> None:
        """Move the manual clock and make what is due; returns when all callbacks are through.

        Through means delivered or given up. TypeError with the real clock, TimeoutError when
        callbacks are still under way after `within` real seconds, RuntimeError on the simulator's
        own loop, which cannot wait for itself: `await advance_async()` there.
        """
        if self._on_own_loop():
            raise RuntimeError("on the simulator's own loop: await advance_async() instead")
        self._submit(seconds, within).result()

    async def advance_async(self, seconds: float, within: float = SETTLE) -> None:
        """The same for coroutines, on whatever loop they run."""
        await asyncio.wrap_future(self._submit(seconds, within))

    def fault(self, fault: Fault) -> None:
        """Let something go wrong with the next requests that match."""
        self._on_loop(lambda: self._faults.add(fault))

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self._on_loop(self._faults.clear)

    @property
    def requests(self) -> list[RequestSeen]:
        """The requests that came in so far, in order of arrival; callbacks are not among them."""
        return list(self._traffic.requests)

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many requests came in by `method` (None: any) with `path` in their path."""
        return sum(
            method in (None, seen.method) and path in seen.path for seen in self._traffic.requests
        )

    @property
    def attempts(self) -> list[CallbackAttempt]:
        """The callback attempts that have ended so far."""
        return list(self._engine.sender.attempts)

    def body(self, id: str) -> dict[str, Any]:  # noqa: A002 - Luma's word
        """What GET would answer now; KeyError when there is no such generation."""
        generation = self._engine.world.find(id)
        if generation is None:
            raise KeyError(id)
        return answer(generation, self._engine.clock.now())

    @property
    def repeat_callbacks(self) -> int:
        """How often each callback is sent, also when it is accepted; settable, from 1."""
        return self._engine.repeat_callbacks

    @repeat_callbacks.setter
    def repeat_callbacks(self, times: int) -> None:
        self._engine.repeat_callbacks = times

    @property
    def reorder_callbacks(self) -> bool:
        """Whether the outcome is told first and the states before it after it; settable."""
        return self._engine.reorder_callbacks

    @reorder_callbacks.setter
    def reorder_callbacks(self, reorder: bool) -> None:
        self._engine.reorder_callbacks = reorder

    @property
    def deliver_callbacks(self) -> bool:
        """Whether callbacks are sent at all; settable."""
        return self._engine.deliver_callbacks

    @deliver_callbacks.setter
    def deliver_callbacks(self, deliver: bool) -> None:
        self._engine.deliver_callbacks = deliver

    def _submit(self, seconds: float, within: float) -> Future[None]:
        if self._loop.is_closed():
            raise RuntimeError("the simulator has stopped")
        return asyncio.run_coroutine_threadsafe(self._engine.advance(seconds, within), self._loop)

    def _on_loop(self, act: Callable[[], T]) -> T:
        """Carry out `act` on the simulator's loop; what it raises is raised here."""
        if self._on_own_loop():
            return act()
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # noqa: BLE001 - it belongs to the thread that asked
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_HOP)

    def _on_own_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False
