"""The listening sockets: opened on host and port, or inherited as file descriptors."""

import os
import resource
import socket
import sys
from contextlib import suppress
from typing import NamedTuple

from service.config import Settings, require_tokens
from service.errors import SettingsError

_BACKLOG = 2048


class Listeners(NamedTuple):
    """The sockets of a service, which outlive each of its processes."""

    main: socket.socket
    callbacks: socket.socket | None
    """For callbacks that come through a tunnel, and for nothing else."""

    @property
    def command(self) -> list[str]:
        """The command of a process that serves on them."""
        sockets = {"--fd": self.main, "--callbacks-fd": self.callbacks}
        options = [f"{name}={each.fileno()}" for name, each in sockets.items() if each]
        return [sys.executable, "-m", "service", "serve", *options]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Their file descriptors."""
        return tuple(each.fileno() for each in self if each)

    def set_inheritable(self) -> None:
        """Let processes that are started have them."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, True)


def open_listener(settings: Settings, fd: int | None) -> socket.socket:
    """Return a listening socket.

    Args:
        settings: with the host and port to listen on.
        fd: a socket to use instead, that the parent process opened.

    Raises:
        SettingsError: the address cannot be listened on, or `fd` is not a TCP socket.
    """
    return _listen(settings) if fd is None else _inherit(fd)


def open_callbacks_listener(fd: int | None) -> socket.socket:
    """Return a socket for callbacks through a tunnel: `fd`, else a new one on any loopback port.

    Raises:
        SettingsError: `fd` is not a TCP socket.
    """
    if fd is not None:
        return _inherit(fd)
    return socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)


def settings_for(listener: socket.socket, settings: Settings) -> Settings:
    """Return the settings with the host and port that the socket is bound to.

    Raises:
        SettingsError: other machines can reach the address, and there are no tokens.
    """
    host, port = listener.getsockname()[:2]
    bound = settings.model_copy(update={"host": host, "port": port})
    require_tokens(bound)
    return bound


def raise_descriptor_limit() -> None:
    """Allow as many open files as the hard limit permits: each connection needs one."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports no limit, but refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _inherit(fd: int) -> socket.socket:
    hint = "Pass the descriptor of a listening TCP socket, or set TRACKER_HOST and TRACKER_PORT."
    try:
        listener = socket.socket(fileno=fd)
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            raise SettingsError(f"--fd {fd}: not a TCP socket.", hint)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise SettingsError(f"--fd {fd}: cannot listen on it: {error.strerror}.", hint) from error
    return listener


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"TRACKER_HOST, TRACKER_PORT: cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror}.",
            "Set TRACKER_PORT to a free port, or to 0 for any, and TRACKER_HOST to an address of "
            "this machine.",
        ) from error
    listener.listen(_BACKLOG)
    return listener
