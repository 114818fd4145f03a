"""uvicorn's server for this service: two kinds of sockets, reload on SIGHUP, an end to waits."""

import asyncio
import gc
import os
import signal
import socket
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.cli.listener import Listeners
from service.logs import log
from service.web.callbacks import CallbacksOnly
from service.web.server.protocol import LimitedProtocol

_ALLOCATIONS = 10_000  # between garbage collections; the service creates few reference cycles
_GRACE = 2  # seconds for requests in progress; Luma waits 5 s in total
_CHECK_SECONDS = 60.0  # for the check before a reload
_TICKS_BETWEEN_CHECKS = 20  # of 0.1 s each


class Server(uvicorn.Server):
    """uvicorn's server, which also handles SIGHUP and ends waiting requests when it stops.

    Args:
        listeners: the sockets that a reload passes on.
    """

    def __init__(self, config: uvicorn.Config, listeners: Listeners) -> None:
        super().__init__(config)
        self.listeners = listeners

    reload = False
    _hung_up = False
    """Whether SIGHUP was received before the start was complete."""
    _loop: asyncio.AbstractEventLoop | None = None
    _checking: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and exclude present objects from garbage collection: it would block for 0.1 s."""
        await super().startup(sockets)
        await self._serve_callbacks()
        self._loop = asyncio.get_running_loop()
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
        if self._hung_up:
            self._check()

    async def _serve_callbacks(self) -> None:
        """Receive callbacks, and nothing else, on the socket that a tunnel leads to."""
        if self.listeners.callbacks is None:
            return
        app = CallbacksOnly(self.config.app.fast_path.callbacks)  # type: ignore[union-attr]
        config = config_of(app)
        config.load()
        protocol = partial(
            LimitedProtocol,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop, listener = asyncio.get_running_loop(), self.listeners.callbacks.dup()
        self.servers.append(await loop.create_server(protocol, sock=listener))

    async def on_tick(self, counter: int) -> bool:
        """Check regularly whether a connection could be accepted: the loop does not report it."""
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            self._check_descriptors()
        return await super().on_tick(counter)

    def _check_descriptors(self) -> None:
        try:
            os.close(os.dup(self.listeners.main.fileno()))
        except OSError as error:
            hint = "Raise the limit on open files (`ulimit -n`), or find out who connects."
            log.error("accept_failed", reason=error.strerror, hint=hint)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and cancel a check for a reload."""
        if self._checking:
            self._checking.cancel()
        await super().shutdown(sockets)

    def on_hangup(self, _signal: int, _frame: FrameType | None) -> None:
        """Check whether a restart would succeed; if so, stop in order to restart."""
        self._hung_up = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._check)

    def _check(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._reload_if_startable(), name="reload")

    async def _reload_if_startable(self) -> None:
        if reason := await _reason_not_to_restart(self.listeners):
            hint = "The service continues unchanged. Correct this, then send SIGHUP again."
            log.error("reload_refused", reason=reason, hint=hint)
        else:
            self.handle_exit(signal.SIGHUP, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and answer requests that wait for a change. The last signal decides on a reload."""
        self.reload = sig == signal.SIGHUP
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # end by returning, not by raising the signal again
        tracker = getattr(self.config.app.state, "tracker", None)  # type: ignore[union-attr]
        if tracker and self._loop:
            # Not here: a signal may come while `Event.wait` is about to note who waits.
            self._loop.call_soon_threadsafe(tracker.stop_waiting)


def config_of(app: ASGIApp) -> uvicorn.Config:
    """Return the configuration of a server for an application."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )


async def _reason_not_to_restart(listeners: Listeners) -> str | None:
    """Return why a service on this socket could not start now; None if it could.

    A separate process reads the settings and imports the code, as a start would.
    """
    checking = await asyncio.create_subprocess_exec(
        *listeners.command,
        "--check",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=listeners.descriptors,
    )
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            _, output = await checking.communicate()
    except TimeoutError:
        return f"the check took longer than {_CHECK_SECONDS:.0f} s"
    finally:
        if checking.returncode is None:
            checking.kill()
    if checking.returncode == 0:
        return None
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the check ended with exit code {checking.returncode}"
