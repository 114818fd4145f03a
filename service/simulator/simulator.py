"""The simulator's settings, and how to run it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import Mount

from service.simulator.agents import agents_app
from service.simulator.clock import Clock, RealClock
from service.simulator.dream_machine import dream_machine_app
from service.simulator.engine import Engine
from service.simulator.faults import Faults
from service.simulator.luma import Luma
from service.simulator.sender import TIMEOUT, Sender
from service.simulator.server import listening
from service.simulator.traffic import Traffic
from service.simulator.world import Plan, World

_START = 10.0
"""Real seconds in which the thread listens; more means that it cannot, and has said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A stand-in for Luma's two APIs. Each run begins with an empty world."""

    clock: Clock = field(default_factory=RealClock)
    default_plan: Plan = field(default_factory=Plan)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Substring of a prompt -> the plan of generations that are asked for with it."""
    api_keys: Collection[str] | None = None
    """The bearer keys that are let in; None: any."""
    accept_any_id: bool = False
    """Whether an unknown id is made on the spot instead of 404: Luma's own SDK tests need it."""
    repeat_callbacks: int = 1
    """How often each callback is sent, also when it is accepted."""
    reorder_callbacks: bool = False
    """Whether the outcome is told first and the states before it after it."""
    deliver_callbacks: bool = True
    callback_timeout: float = TIMEOUT
    """Real seconds for one callback attempt."""

    @contextmanager
    def running(self) -> Iterator[Luma]:
        """Run it in a thread of its own, for as long as it is entered."""
        started: Future[tuple[Luma, Callable[[], None]]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="luma-simulator", daemon=True
        )
        thread.start()
        luma, stop = started.result(_START)
        try:
            yield luma
        finally:
            stop()
            thread.join()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Luma]:
        """Run it on the present event loop, for as long as it is entered."""
        engine = self._engine()
        faults = Faults()
        traffic = Traffic(self._app(engine), faults)
        try:
            async with listening(traffic) as port:
                yield Luma(engine, traffic, faults, f"http://127.0.0.1:{port}")
        finally:
            await engine.close()

    async def _serve(self, started: Future[tuple[Luma, Callable[[], None]]]) -> None:
        """Serve until the `stop` that is handed out is called, from whatever thread."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)

        async with self.serving() as luma:
            started.set_result((luma, stop))
            await stopped.wait()

    def _engine(self) -> Engine:
        world = World(default_plan=self.default_plan, plans=self.plans)
        engine = Engine(world, self.clock, Sender(self.callback_timeout))
        engine.repeat_callbacks = self.repeat_callbacks
        engine.reorder_callbacks = self.reorder_callbacks
        engine.deliver_callbacks = self.deliver_callbacks
        return engine

    def _app(self, engine: Engine) -> Starlette:
        keys, any_id = self.api_keys, self.accept_any_id
        dream_machine = dream_machine_app(engine, api_keys=keys, accept_any_id=any_id)
        agents = agents_app(engine, api_keys=keys, accept_any_id=any_id)
        return Starlette(
            routes=[Mount("/dream-machine/v1", dream_machine), Mount("/agents/v1", agents)]
        )
