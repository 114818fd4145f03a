"""Runs the service, and says where and how it can be reached.

The listening socket is the first thing to open and the last to close: connections that come
while the service starts wait in its queue. On SIGHUP a second process checks whether the service
could start with the settings and the code as they are now. If so, the process starts anew with the
same socket and the same process id, and callers meanwhile wait rather than being refused; if not,
it logs why and goes on as it is.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from service.app import create_app
from service.bootstrap import migrate
from service.cli.doctor import CALLBACKS_ONLY, NO_API_KEY
from service.cli.workers import Workers
from service.config import Settings, environment_for, inherited_socket, require_tokens
from service.errors import SettingsError
from service.logs import log
from service.web.server.protocol import LimitedProtocol

_BACKLOG = 2048
_ALLOCATIONS = 10_000  # between searches for garbage; hardly any of ours needs to be searched for
_GRACE = 2  # seconds for answers under way; Luma waits 5 s in all
_CHECK_SECONDS = 60.0  # for a check before a reload
_TICKS_BETWEEN_LOOKS = 20  # of a tenth of a second


class Server(uvicorn.Server):
    """uvicorn, which also knows SIGHUP, and lets no one wait who waits for a generation.

    Args:
        listener: the socket that a reload hands on.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self.listener = listener

    reload = False
    _hung_up = False
    """Whether SIGHUP came before we had started."""
    _loop: asyncio.AbstractEventLoop | None = None
    _checking: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; what is there now stays: to search it for garbage stops all for 0.1 s."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
        if self._hung_up:
            self._check()

    async def on_tick(self, counter: int) -> bool:
        """Look now and then whether a connection could be accepted: the loop does not say so."""
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            self._look_for_descriptors()
        return await super().on_tick(counter)

    def _look_for_descriptors(self) -> None:
        try:
            os.close(os.dup(self.listener.fileno()))
        except OSError as error:
            hint = "Raise the limit on open files (`ulimit -n`), or see who connects."
            log.error("accept_failed", reason=error.strerror, hint=hint)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; a check that is under way is of no use any more."""
        if self._checking:
            self._checking.cancel()
        await super().shutdown(sockets)

    def on_hangup(self, _signal: int, _frame: FrameType | None) -> None:
        """Check whether we could start anew; if so, stop for that."""
        self._hung_up = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._check)

    def _check(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._reload_if_sound(), name="reload")

    async def _reload_if_sound(self) -> None:
        if reason := await _why_not(self.listener):
            hint = "The service goes on as it is. Correct this, then send SIGHUP again."
            log.error("reload_refused", reason=reason, hint=hint)
        else:
            self.handle_exit(signal.SIGHUP, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; who waits for a change gets an answer now. The last signal decides what then."""
        self.reload = sig == signal.SIGHUP
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # we end by returning, not by dying of the signal
        if tracker := getattr(self.config.app.state, "tracker", None):  # type: ignore[union-attr]
            tracker.stop_waiting()


def serve(settings: Settings, fd: int | None, workers: int = 1) -> None:
    """Run until a signal ends it.

    Args:
        settings: as read.
        fd: a listening socket that was handed to us, instead of host and port.
        workers: processes that serve; with several, this one only minds them.

    Raises:
        SettingsError: the address cannot be listened on, or not without tokens; or no worker
            could start.
    """
    _raise_descriptor_limit()
    fd = fd if fd is not None else inherited_socket()
    listener = _listen(settings) if fd is None else _inherit(fd)
    bound = _bound_to(listener, settings)
    if workers == 1:
        _serve_on(listener, bound)
    elif not Workers(listener, workers, environment_for(bound)).run():
        raise SettingsError("workers: they could not start; the first line above says why.")


def check(settings: Settings, fd: int | None) -> None:
    """Do all that a start does before it serves: read, import, open and migrate.

    Raises:
        TrackerError: the service could not start; the message says why.
    """
    bound = _bound_to(_inherit(fd), settings) if fd is not None else settings
    create_app(bound)
    asyncio.run(migrate(bound))


def _bound_to(listener: socket.socket, settings: Settings) -> Settings:
    host, port = listener.getsockname()[:2]
    bound = settings.model_copy(update={"host": host, "port": port})
    require_tokens(bound)
    return bound


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
    _introduce(bound)
    asyncio.run(migrate(bound))  # what is wrong with the database ends the start with one line
    server.run(sockets=[listener.dup()])
    log.info("stopped", reload=server.reload)
    if server.reload:
        _begin_anew(listener)


def _raise_descriptor_limit() -> None:
    """As many open files as we may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "no limit", and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _begin_anew(listener: socket.socket) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until we can heed it again
    os.set_inheritable(listener.fileno(), True)
    os.execv(sys.executable, _command(listener))  # noqa: S606 - ourselves


def _command(listener: socket.socket) -> list[str]:
    return [sys.executable, "-m", "service", "serve", "--fd", str(listener.fileno())]


async def _why_not(listener: socket.socket) -> str | None:
    """Why a service on this socket could not start now; None if it could.

    A process of its own finds out: it reads the settings, and imports the code, as a start would.
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
            _, complaints = await checking.communicate()
    except TimeoutError:
        return f"the check took longer than {_CHECK_SECONDS:.0f} s"
    finally:
        if checking.returncode is None:
            checking.kill()
    if checking.returncode == 0:
        return None
    lines = complaints.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the check ended with {checking.returncode}"


def _inherit(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            raise SettingsError(f"--fd {fd}: is not a TCP socket.")
        listener.listen(_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"--fd {fd}: is not a socket to listen on: {error.strerror}."
        ) from error
    return listener


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"TRACKER_HOST, TRACKER_PORT: cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror}."
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _introduce(settings: Settings) -> None:
    """Log where we listen, what is set, and what to set where something important is missing."""
    keys = {"dream_machine": settings.luma_api_key, "agents": settings.luma_agents_api_key}
    upstreams = [name for name, key in keys.items() if key]
    log.info("listening", url=settings.own_url)
    log.info("configured", database=settings.database_name, upstreams=",".join(upstreams) or "none")
    if not upstreams:
        log.warning("no_api_key", hint=NO_API_KEY)
    if not settings.reconcile:
        log.info("reconciler_disabled", hint="TRACKER_RECONCILE is off: only lookups ask Luma")
    if settings.public_url is None:
        log.info("callbacks_disabled", hint=_no_callbacks(upstreams))
    elif settings.callbacks_only:
        log.warning("callbacks_only", hint=CALLBACKS_ONLY)


def _no_callbacks(upstreams: list[str]) -> str:
    instead = "Luma is asked instead" if upstreams else "and nothing can be learnt by asking"
    return f"TRACKER_PUBLIC_URL is not set: Luma cannot call back, {instead}"
