"""Moves the world along the clock, on one event loop, and sends the callbacks that follow."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi.responses import JSONResponse

from service.simulator.answers import answer
from service.simulator.clock import Clock, ManualClock
from service.simulator.sender import Callback, Sender
from service.simulator.world import Generation, Plan, Upstream, World


class Engine:
    """Everything that happens by itself. All methods belong to the loop it was made on."""

    def __init__(self, world: World, clock: Clock, sender: Sender) -> None:
        self.world = world
        self.clock = clock
        self.sender = sender
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
        """A new generation, moved as far as it goes without waiting."""
        generation = self.world.create(
            upstream,
            operation,
            model,
            request,
            now=self.clock.now(),
            generation_id=generation_id,
            plan=plan,
        )
        self.move()
        return generation

    def hurry(self, generation: Generation, seconds: float) -> None:
        """Let `seconds` pass at once for this generation alone."""
        self.world.hurry(generation, seconds)
        self.move()

    def answer(self, generation: Generation) -> JSONResponse:
        """What GET answers now, as bytes: a callback and an answer never differ."""
        return JSONResponse(answer(generation, self.clock.now()))

    def move(self) -> None:
        """Make every transition that is due, and wake up again for the next."""
        for generation in self.world.move(self.clock.now()):
            self._tell(generation)
        self._set_timer(self.world.next_due())

    async def advance(self, seconds: float, within: float) -> None:
        """Move a manual clock; returns when every callback is delivered or given up.

        TypeError when the clock is not a manual one, TimeoutError when callbacks are still
        under way after `within` real seconds.
        """
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a ManualClock can be advanced; the real one moves by itself")
        self.clock.advance(seconds)
        self.move()
        await self.sender.settle(within)

    async def close(self) -> None:
        """Stop moving, drop the callbacks under way."""
        self._set_timer(None)
        await self.sender.close()

    def _set_timer(self, due: datetime | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = None if due is None else self.clock.seconds_until(due)
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self.move)

    def _tell(self, generation: Generation) -> None:
        """Send the state it is in; `queued` is never told, and Agents generations have no URL."""
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
