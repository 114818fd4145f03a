"""Runs the service on listening sockets, and restarts it in place on SIGHUP.

A listening socket is opened first and closed last: connections that arrive while the service
starts wait in its queue. On SIGHUP a second process checks whether the service could start with
the current settings and code. If it could, this process replaces itself (`exec`) and keeps the
socket and the process id; clients wait in the meantime and are not refused. If it could not, the
reason is logged and the service continues unchanged.
"""

import asyncio
import os
import signal
import sys

from service.app import create_app
from service.bootstrap import migrate
from service.cli.doctor_checks import CALLBACKS_ONLY, NO_API_KEY
from service.cli.http_server import Server, config_of
from service.cli.listener import (
    Listeners,
    open_callbacks_listener,
    open_listener,
    raise_descriptor_limit,
    settings_for,
)
from service.cli.tunnel import Tunnel, find_program
from service.cli.tunnelled_workers import TunnelledWorkers
from service.cli.workers import Workers
from service.config import (
    Settings,
    environment_for,
    environment_of_tunnel,
    inherited_socket,
)
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import SettingsError
from service.logs import log
from service.tracking.archive.library import Library


def serve(
    settings: Settings, fd: int | None, workers: int = 1, callbacks_fd: int | None = None
) -> None:
    """Run until a signal ends the service.

    Args:
        settings: as loaded.
        fd: a listening socket that the parent process opened, instead of host and port.
        workers: number of serving processes; with several, this one only supervises them.
        callbacks_fd: another one, that a tunnel leads to; for callbacks only.

    Raises:
        SettingsError: the address cannot be listened on, or only with tokens; or no worker
            could start.
    """
    listeners, bound = _listen(settings, fd)
    if callbacks_fd is not None:
        listeners = listeners._replace(callbacks=open_callbacks_listener(callbacks_fd))
    if workers == 1:
        _serve_on(listeners, bound)
    else:
        _supervise(Workers(listeners, workers, environment_for(bound, workers)))


def serve_through_tunnel(settings: Settings, fd: int | None, workers: int) -> None:
    """Run until a signal ends the service, and a tunnel that leads to it.

    Raises:
        SettingsError: as `serve`; or there is no program for the tunnel, or it has no URL.
    """
    program = find_program()
    listeners, bound = _listen(settings, fd)
    callbacks = open_callbacks_listener(None)
    listeners = listeners._replace(callbacks=callbacks)
    environment = environment_of_tunnel()
    tunnel = Tunnel(program, callbacks.getsockname()[1], environment, listeners.descriptors)
    _supervise(TunnelledWorkers(listeners, workers, environment_for(bound, workers), tunnel))


def _listen(settings: Settings, fd: int | None) -> tuple[Listeners, Settings]:
    raise_descriptor_limit()
    listener = open_listener(settings, fd if fd is not None else inherited_socket())
    return Listeners(listener, None), settings_for(listener, settings)


def _supervise(workers: Workers) -> None:
    if not workers.run():
        raise SettingsError(
            "--workers: no worker could start.",
            "The first error above says why; `luma-tracker serve --check` reports it again.",
        )


def check(settings: Settings, fd: int | None) -> None:
    """Do what a start does before it serves: settings, imports, archive, database, migrations.

    Raises:
        TrackerError: the service could not start; the message says why.
    """
    bound = settings if fd is None else settings_for(open_listener(settings, fd), settings)
    _require_archive(bound)
    create_app(bound)
    asyncio.run(migrate(bound))


def _serve_on(listeners: Listeners, bound: Settings) -> None:
    _require_archive(bound)
    tunnelled = listeners.callbacks is not None
    server = Server(config_of(create_app(bound, tunnelled=tunnelled)), listeners)
    signal.signal(signal.SIGHUP, server.on_hangup)
    _log_configuration(bound, tunnelled=tunnelled)
    asyncio.run(migrate(bound))  # here, a database error ends the start with one line
    server.run(sockets=[listeners.main.dup()])
    log.info("stopped", reload=server.reload)
    if server.reload:
        _restart(listeners)


def _require_archive(settings: Settings) -> None:
    """Open the archive as the service will, so that an error ends the start with one line."""
    if settings.archive is not None:
        Library(settings.archive)


def _restart(listeners: Listeners) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be handled again
    listeners.set_inheritable()
    os.execv(sys.executable, listeners.command)  # noqa: S606 - this program


def _log_configuration(settings: Settings, *, tunnelled: bool) -> None:
    """Log the address, the configuration, and what to set if something important is missing."""
    keys = {DREAM_MACHINE: settings.luma_api_key, AGENTS: settings.luma_agents_api_key}
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
    elif settings.callbacks_only and not tunnelled:
        log.warning("callbacks_only", hint=CALLBACKS_ONLY)


def _no_callbacks(upstreams: list[str]) -> str:
    instead = "Luma is polled instead" if upstreams else "and without a key it cannot be polled"
    try_ = "To try callbacks, run `serve --tunnel`."
    return f"TRACKER_PUBLIC_URL is not set: Luma cannot send callbacks, {instead}. {try_}"
