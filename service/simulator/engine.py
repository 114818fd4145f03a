"""Runs the world by the clock, on one event loop, and sends the callbacks that result."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi.responses import JSONResponse

from service.simulator.answers import answer
from service.simulator.assets import AssetUrls
from service.simulator.clock import Clock, ManualClock
from service.simulator.sender import Callback, Sender
from service.simulator.world import Generation, Plan, Upstream, World


class Engine:
    """Makes transitions when they are due. Call its methods on the loop that created it."""

    def __init__(self, world: World, clock: Clock, sender: Sender, urls: AssetUrls) -> None:
        self.world = world
        self.clock = clock
        self.sender = sender
        self._urls = urls
        self.repeat_callbacks = 1
        self.reorder_callbacks = False
        self.deliver_callbacks = True
        self._held: defaultdict[str, list[Callback]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None

    def create(
        self,
        upstream: Upstream,
        operation: str,
        model: str,
        request: Mapping[str, Any],
        *,
        generation_id: str | None = None,
        plan: Plan | None = None,
    ) -> Generation:
        """Create a generation, and make the transitions that are due immediately."""
        generation = self.world.create(
            upstream,
            operation,
            model,
            request,
            now=self.clock.now(),
            generation_id=generation_id,
            plan=plan,
        )
        self.make_transitions()
        return generation

    def fast_forward(self, generation: Generation, seconds: float) -> None:
        """Let `seconds` pass for this generation only."""
        self.world.fast_forward(generation, seconds)
        self.make_transitions()

    def body(self, generation: Generation) -> dict[str, Any]:
        """Return the body of what GET answers now."""
        return answer(generation, self.clock.now(), self._urls)

    def answer(self, generation: Generation) -> JSONResponse:
        """Return what GET answers now; callbacks send the same bytes."""
        return JSONResponse(self.body(generation))

    def make_transitions(self) -> None:
        """Make every transition that is due, and set a timer for the next."""
        for generation in self.world.make_transitions(self.clock.now()):
            self._send_callback(generation)
        self._set_timer(self.world.next_due())

    async def advance(self, seconds: float, within: float) -> None:
        """Advance a manual clock; returns when every callback is delivered or has failed.

        Raises:
            TypeError: the clock is not a manual one.
            TimeoutError: callbacks are still in progress after `within` real seconds.
        """
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a ManualClock can be advanced")
        self.clock.advance(seconds)
        self.make_transitions()
        await self.sender.settle(within)

    async def close(self) -> None:
        """Stop, and cancel the callbacks in progress."""
        self._set_timer(None)
        await self.sender.close()

    def _set_timer(self, due: datetime | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = None if due is None else self.clock.seconds_until(due)
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self.make_transitions)

    def _send_callback(self, generation: Generation) -> None:
        """Send the state. `queued` is never sent; Agents generations have no callback URL."""
        url = generation.request.get("callback_url")
        if url is None or not self.deliver_callbacks or generation.state == "queued":
            return
        body = bytes(self.answer(generation).body)
        callback = Callback(url, generation.id, generation.state, body)
        if self.reorder_callbacks and not generation.terminal:
            self._held[generation.id].append(callback)
            return
        for each in (callback, *reversed(self._held.pop(generation.id, []))):
            self.sender.send(each, self.repeat_callbacks)
