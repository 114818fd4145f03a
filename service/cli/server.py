"""Runs the service on a listening socket, and restarts it in place on SIGHUP.

The listening socket is opened first and closed last: connections that arrive while the service
starts wait in its queue. On SIGHUP a second process checks whether the service could start with
the current settings and code. If it could, this process replaces itself (`exec`) and keeps the
socket and the process id; clients wait in the meantime and are not refused. If it could not, the
reason is logged and the service continues unchanged.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from service.app import create_app
from service.bootstrap import migrate
from service.cli.doctor_checks import CALLBACKS_ONLY, NO_API_KEY
from service.cli.listener import open_listener, raise_descriptor_limit, settings_for
from service.cli.workers import Workers
from service.config import Settings, environment_for, inherited_socket
from service.errors import SettingsError
from service.logs import log
from service.web.server.protocol import LimitedProtocol

_ALLOCATIONS = 10_000  # between garbage collections; the service creates few reference cycles
_GRACE = 2  # seconds for requests in progress; Luma waits 5 s in total
_CHECK_SECONDS = 60.0  # for the check before a reload
_TICKS_BETWEEN_CHECKS = 20  # of 0.1 s each


class Server(uvicorn.Server):
    """uvicorn's server, which also handles SIGHUP and ends waiting requests when it stops.

    Args:
        listener: the socket that a reload passes on.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self.listener = listener

    reload = False
    _hung_up = False
    """Whether SIGHUP was received before the start was complete."""
    _loop: asyncio.AbstractEventLoop | None = None
    _checking: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and exclude present objects from garbage collection: it would block for 0.1 s."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
        if self._hung_up:
            self._check()

    async def on_tick(self, counter: int) -> bool:
        """Check regularly whether a connection could be accepted: the loop does not report it."""
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            self._check_descriptors()
        return await super().on_tick(counter)

    def _check_descriptors(self) -> None:
        try:
            os.close(os.dup(self.listener.fileno()))
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
        if reason := await _reason_not_to_restart(self.listener):
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


def serve(settings: Settings, fd: int | None, workers: int = 1) -> None:
    """Run until a signal ends the service.

    Args:
        settings: as loaded.
        fd: a listening socket that the parent process opened, instead of host and port.
        workers: number of serving processes; with several, this one only supervises them.

    Raises:
        SettingsError: the address cannot be listened on, or only with tokens; or no worker
            could start.
    """
    raise_descriptor_limit()
    listener = open_listener(settings, fd if fd is not None else inherited_socket())
    bound = settings_for(listener, settings)
    if workers == 1:
        _serve_on(listener, bound)
    elif not Workers(listener, workers, environment_for(bound)).run():
        raise SettingsError(
            "--workers: no worker could start.",
            "The first error above says why; `luma-tracker serve --check` reports it again.",
        )


def check(settings: Settings, fd: int | None) -> None:
    """Do what a start does before it serves: settings, imports, database and migrations.

    Raises:
        TrackerError: the service could not start; the message says why.
    """
    bound = settings if fd is None else settings_for(open_listener(settings, fd), settings)
    create_app(bound)
    asyncio.run(migrate(bound))


def _serve_on(listener: socket.socket, bound: Settings) -> None:
    server = Server(
        uvicorn.Config(
            create_app(bound),
            http=LimitedProtocol,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        ),
        listener,
    )
    signal.signal(signal.SIGHUP, server.on_hangup)
    _log_configuration(bound)
    asyncio.run(migrate(bound))  # here, a database error ends the start with one line
    server.run(sockets=[listener.dup()])
    log.info("stopped", reload=server.reload)
    if server.reload:
        _restart(listener)


def _restart(listener: socket.socket) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be handled again
    os.set_inheritable(listener.fileno(), True)
    os.execv(sys.executable, _command(listener))  # noqa: S606 - this program


def _command(listener: socket.socket) -> list[str]:
    return [sys.executable, "-m", "service", "serve", "--fd", str(listener.fileno())]


async def _reason_not_to_restart(listener: socket.socket) -> str | None:
    """Return why a service on this socket could not start now; None if it could.

    A separate process reads the settings and imports the code, as a start would.
    """
    checking = await asyncio.create_subprocess_exec(
        *_command(listener),
        "--check",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(listener.fileno(),),
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


def _log_configuration(settings: Settings) -> None:
    """Log the address, the configuration, and what to set if something important is missing."""
    keys = {"dream_machine": settings.luma_api_key, "agents": settings.luma_agents_api_key}
    upstreams = [name for name, key in keys.items() if key]
    log.info("listening", url=settings.own_url)
    log.info("configured", database=settings.database_name, upstreams=",".join(upstreams) or "none")
    if not upstreams:
        log.warning("no_api_key", hint=NO_API_KEY)
    if not settings.reconcile:
        hint = "Luma is asked only by lookups. Set TRACKER_RECONCILE=true to change that."
        log.info("reconciler_disabled", hint=hint)
    if settings.public_url is None:
        log.info("callbacks_disabled", hint=_no_callbacks(upstreams))
    elif settings.callbacks_only:
        log.warning("callbacks_only", hint=CALLBACKS_ONLY)


def _no_callbacks(upstreams: list[str]) -> str:
    instead = "Luma is polled instead" if upstreams else "and without a key it cannot be polled"
    return f"TRACKER_PUBLIC_URL is not set: Luma cannot send callbacks, {instead}."
