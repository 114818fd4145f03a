"""The simulator's configuration, and functions to run it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from service.simulator.agents import agents_app
from service.simulator.agents_files import AgentsFiles
from service.simulator.asset_server import AssetServer
from service.simulator.assets import LUMA, AssetUrls
from service.simulator.clock import Clock, RealClock
from service.simulator.dream_machine import dream_machine_app
from service.simulator.echo import add_echo
from service.simulator.engine import Engine
from service.simulator.fault_injection import FaultInjection
from service.simulator.faults import Faults
from service.simulator.files import Files
from service.simulator.luma import Luma
from service.simulator.sender import TIMEOUT, Sender
from service.simulator.server import bind, serving
from service.simulator.storage import Storage, StorageServer
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
    list_limit_cap: int = 100
    """The most generations on one page of Dream Machine's list, whatever its `limit` says."""
    agents_requests_per_minute: int | None = None
    """Requests to the Agents API in any minute of `clock`; None: any number."""
    agents_concurrent: int | None = None
    """Open generations beyond which the Agents API creates none; None: any number."""
    serve_assets: bool = False
    """Whether asset URLs point to the simulator, which then serves them, or to Luma's host."""
    video_size: int = 0
    """The fewest bytes that each served video has."""
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
        faults = Faults()
        with bind() as listener, TemporaryDirectory(prefix="luma-simulator-") as folder:
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            engine = self._engine(origin)
            app = self._app(engine, origin, Path(folder))
            traffic = Traffic(FaultInjection(app, faults, engine.sender.deliver))
            try:
                async with serving(traffic, listener):
                    yield Luma(engine, traffic, faults, origin)
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

    def _engine(self, origin: str) -> Engine:
        world = World(default_plan=self.default_plan, plans=self.plans)
        urls = AssetUrls(f"{origin}/assets" if self.serve_assets else LUMA)
        engine = Engine(world, self.clock, Sender(self.callback_timeout), urls)
        engine.repeat_callbacks = self.repeat_callbacks
        engine.reorder_callbacks = self.reorder_callbacks
        engine.deliver_callbacks = self.deliver_callbacks
        return engine

    def _app(self, engine: Engine, origin: str, folder: Path) -> Starlette:
        """Return both APIs, and what is served beside them; `folder` keeps bytes."""
        files, storage = Files(), Storage(folder, f"{origin}/storage")
        apis = (self._dream_machine(engine), self._agents(engine, files, storage))
        if self.echo:
            for api in apis:
                add_echo(api)
        server = StorageServer(storage, files, self.clock)
        routes: list[BaseRoute] = [
            *(
                Mount(path, api)
                for path, api in zip(("/dream-machine/v1", "/agents/v1"), apis, strict=True)
            ),
            Route("/storage/{key}", server.put, methods=["PUT"]),
            Route("/storage/{key}", server.get),
        ]
        if self.serve_assets:
            routes.append(
                Route("/assets/{path:path}", AssetServer(folder, self.clock, self.video_size).get)
            )
        return Starlette(routes=routes)

    def _dream_machine(self, engine: Engine) -> FastAPI:
        return dream_machine_app(
            engine,
            api_keys=self.api_keys,
            accept_any_id=self.accept_any_id,
            list_limit_cap=self.list_limit_cap,
        )

    def _agents(self, engine: Engine, files: Files, storage: Storage) -> FastAPI:
        routes = AgentsFiles(files, storage, self.clock, accept_any_id=self.accept_any_id)
        return agents_app(
            engine,
            routes,
            api_keys=self.api_keys,
            accept_any_id=self.accept_any_id,
            requests_per_minute=self.agents_requests_per_minute,
            concurrent=self.agents_concurrent,
        )
