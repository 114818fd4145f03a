"""The simulator's configuration, and functions to run it."""

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
from service.simulator.echo import add_echo
from service.simulator.engine import Engine
from service.simulator.fault_injection import FaultInjection
from service.simulator.faults import Faults
from service.simulator.luma import Luma
from service.simulator.sender import TIMEOUT, Sender
from service.simulator.server import listening
from service.simulator.traffic import Traffic
from service.simulator.world import Plan, World

_START = 10.0
"""Real seconds until the thread listens; longer means that it failed and printed an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A simulator of Luma's two APIs. Each run starts without generations."""

    clock: Clock = field(default_factory=RealClock)
    default_plan: Plan = field(default_factory=Plan)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Substring of a prompt -> the plan of generations with such a prompt."""
    api_keys: Collection[str] | None = None
    """The accepted bearer keys; None: any."""
    accept_any_id: bool = False
    """Whether GET of an unknown id creates it; if not, 404. Luma's own SDK tests need it."""
    repeat_callbacks: int = 1
    """How often each callback is sent, even if it is accepted."""
    reorder_callbacks: bool = False
    """Whether the terminal state is sent first, and the states before it afterwards."""
    deliver_callbacks: bool = True
    callback_timeout: float = TIMEOUT
    """Real seconds for one callback attempt."""
    echo: bool = False
    """Whether both APIs have the routes of `echo.py`, which Luma does not have."""

    @contextmanager
    def running(self) -> Iterator[Luma]:
        """Run it in a separate thread inside the context."""
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
        """Run it on the current event loop inside the context."""
        engine = self._engine()
        faults = Faults()
        traffic = Traffic(FaultInjection(self._app(engine), faults, engine.sender.deliver))
        try:
            async with listening(traffic) as port:
                yield Luma(engine, traffic, faults, f"http://127.0.0.1:{port}")
        finally:
            await engine.close()

    async def _serve(self, started: Future[tuple[Luma, Callable[[], None]]]) -> None:
        """Serve until the returned `stop` is called, from any thread."""
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
        if self.echo:
            add_echo(dream_machine)
            add_echo(agents)
        return Starlette(
            routes=[Mount("/dream-machine/v1", dream_machine), Mount("/agents/v1", agents)]
        )
