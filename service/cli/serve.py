"""The commands that run until you stop them: `serve`, `mcp` and `demo`."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.opening import load_settings
from service.cli.option_sets import takes

if TYPE_CHECKING:
    from service.config import Settings

commands = typer.Typer()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how to serve."""

    host: Annotated[
        str | None, typer.Option(help="Address to listen on; overrides TRACKER_HOST.")
    ] = None
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; overrides TRACKER_PORT. 0 takes any free port."),
    ] = None
    fd: Annotated[
        int | None,
        typer.Option(help="File descriptor of an open listening socket; replaces host and port."),
    ] = None
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of processes that serve.")] = 1
    tunnel: Annotated[
        bool,
        typer.Option(
            "--tunnel",
            help="Let Luma call back through a tunnel of cloudflared, which must be installed.",
        ),
    ] = False
    callbacks_fd: Annotated[int | None, typer.Option("--callbacks-fd", hidden=True)] = None
    check: Annotated[
        bool,
        typer.Option("--check", help="Check settings, code and database as at a start, then exit."),
    ] = False

    def settings(self) -> "Settings":
        """Read the settings; what is given here takes precedence."""
        given = {"host": self.host, "port": self.port}
        return load_settings(**{name: value for name, value in given.items() if value is not None})


@commands.command()
@takes(Listening)
def serve(listening: Listening) -> None:
    """Run the service: callbacks, REST and MCP on one port.

    Creates and migrates the database first. SIGHUP restarts the service in place,
    SIGTERM stops it.

    Example:

      luma-tracker serve --port 8080 --workers 4
    """
    with _without_garbage_collection():
        from service.cli import server
        from service.logs import configure

    configure()
    settings, fd, workers = listening.settings(), listening.fd, listening.workers
    if listening.check:
        server.check(settings, fd)
    elif listening.tunnel:
        server.serve_through_tunnel(settings, fd, workers)
    else:
        server.serve(settings, fd, workers, listening.callbacks_fd)


@commands.command()
def mcp() -> None:
    """Serve one MCP client on stdin and stdout.

    It works on the same database as the service, which may run at the same time.

    Example, in an MCP client's configuration:

      {"command": "luma-tracker", "args": ["mcp"]}
    """
    with _without_garbage_collection():
        settings = load_settings()
        from service.cli.stdio import serve as run
    run(settings)


@commands.command()
def demo(
    exit_: Annotated[
        bool, typer.Option("--exit", help="Exit at the end, instead of serving until Ctrl-C.")
    ] = False,
) -> None:
    """Show a full run against a simulator of Luma; needs no key and no network.

    Example:

      luma-tracker demo --exit
    """
    with _without_garbage_collection():
        from service.cli.demo import run
    asyncio.run(run(stay=not exit_))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Import faster: what modules allocate is not garbage, so do not search it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
