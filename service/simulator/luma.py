"""A running simulator: its URLs, its controls and a record of requests and callbacks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from service.simulator.creates import without_request
from service.simulator.engine import Engine
from service.simulator.faults import Fault, Faults
from service.simulator.sender import CallbackAttempt
from service.simulator.traffic import RequestSeen, Traffic
from service.simulator.world import Plan, Upstream

T = TypeVar("T")

SETTLE = 30.0
"""Real seconds that callbacks may take after the clock is advanced."""
_CALL_TIMEOUT = 10.0
"""Real seconds for a call on the simulator's loop; longer means that the loop is blocked."""


class Luma:
    """Controls a simulator; created by `Simulator.running()` and `.serving()`.

    Every method is safe to call from any thread: changes run on the simulator's own loop, so no
    lock is needed.
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
        """Create a generation without a request.

        Args:
            operation: as Luma names it.
            id: its id; None: a random one.
            plan: its plan; None: the simulator chooses by prompt.
            callback_url: the URL that callbacks are sent to; None: none are sent.
            upstream: the API that has it.
            prompt: its prompt; None: a usual one.
            model: its model; None: a usual one.
            fields: further fields of the operation's request body.

        Returns:
            The generation's id.

        Raises:
            ValueError: the id is taken, or the upstream does not know the operation or a field.
        """
        given = {"prompt": prompt, "model": model, "callback_url": callback_url, **fields}
        given = {name: value for name, value in given.items() if value is not None}
        chosen, request = without_request(upstream, operation, given)
        return self._on_loop(
            lambda: (
                self._engine.create(
                    upstream, operation, chosen, request, generation_id=id, plan=plan
                ).id
            )
        )

    def advance(self, seconds: float, within: float = SETTLE) -> None:
        """Advance the manual clock, and make the transitions that are due.

        Returns when every callback is delivered or has failed.

        Raises:
            TypeError: the simulator uses the real clock.
            TimeoutError: callbacks are still in progress after `within` real seconds.
            RuntimeError: called on the simulator's own loop; await `advance_async()` there.
        """
        if self._on_own_loop():
            raise RuntimeError("called on the simulator's own loop: await advance_async() instead")
        self._submit(seconds, within).result()

    async def advance_async(self, seconds: float, within: float = SETTLE) -> None:
        """Do the same from a coroutine, on any loop."""
        await asyncio.wrap_future(self._submit(seconds, within))

    def fault(self, fault: Fault) -> None:
        """Add a fault for the next requests that match."""
        self._on_loop(lambda: self._faults.add(fault))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._on_loop(self._faults.clear)

    @property
    def requests(self) -> list[RequestSeen]:
        """The last 10,000 requests received so far, in order of arrival; without callbacks."""
        return self._traffic.requests

    def count(self, method: str | None = None, path: str = "") -> int:
        """Count all requests with `method` (None: any) whose path contains `path`."""
        return self._traffic.count(method, path)

    @property
    def attempts(self) -> list[CallbackAttempt]:
        """The callback attempts that have ended so far."""
        return list(self._engine.sender.attempts)

    def body(self, id: str) -> dict[str, Any]:  # noqa: A002 - Luma's word
        """Return what GET would answer now.

        Raises:
            KeyError: there is no such generation.
        """
        generation = self._engine.world.find(id)
        if generation is None:
            raise KeyError(id)
        return self._engine.body(generation)

    @property
    def repeat_callbacks(self) -> int:
        """How often each callback is sent, even if it is accepted; at least 1, settable."""
        return self._engine.repeat_callbacks

    @repeat_callbacks.setter
    def repeat_callbacks(self, times: int) -> None:
        self._engine.repeat_callbacks = times

    @property
    def reorder_callbacks(self) -> bool:
        """Whether the terminal state is sent first, the states before it afterwards; settable."""
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
        """Run `act` on the simulator's loop; its exception is raised here."""
        if self._on_own_loop():
            return act()
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # noqa: BLE001 - raised in the calling thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_CALL_TIMEOUT)

    def _on_own_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False
