"""Every command: what it takes, and what it says.

What takes long to import is imported in the command that needs it, so that `--help` is quick.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.exits import FAILED, GONE, WAIT_RAN_OUT, refusals

if TYPE_CHECKING:
    from service.config import Settings
    from service.tracking.tracker import Tracker

DEFAULT_WAIT = 600

app = typer.Typer(
    name="luma-tracker",
    help="Keeps the state of every Luma generation, so that nobody has to ask Luma twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The database's schema. `serve` and `mcp` migrate by themselves.")
app.add_typer(db, name="db", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the REST API answers it.")]


def main() -> None:
    """The entry of the command `luma-tracker`."""
    with refusals():
        app(args=_with_wait(sys.argv[1:]))


def _version(asked: bool) -> None:
    if asked:
        from service import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Instead of TRACKER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of TRACKER_PORT; 0: any free.")] = None,
    fd: Annotated[
        int | None, typer.Option(help="A listening socket to inherit, instead of host and port.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that serve.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Check settings and database as a start would, and end.")
    ] = False,
) -> None:
    """Run the service: callbacks, REST and MCP on one port. SIGHUP restarts it in place."""
    from service.cli import serving
    from service.logs import configure

    configure()
    given = {"host": host, "port": port}
    settings = _settings(**{name: value for name, value in given.items() if value is not None})
    if check:
        serving.check(settings, fd)
    else:
        serving.serve(settings, fd, workers)


@app.command()
def mcp() -> None:
    """Serve one MCP client on stdin and stdout, on the same store as the service."""
    with _without_collecting():
        settings = _settings()
        from service.cli.stdio import serve as run
    run(settings)


@app.command()
def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="End when all is shown.")] = False,
) -> None:
    """Show the main job against a stand-in for Luma: no key, no network."""
    from service.cli.demo import run

    asyncio.run(run(stay=not exit_))


@app.command()
def get(
    generation_id: Annotated[str, typer.Argument(metavar="ID", help="Luma's id of it.")],
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="[SECONDS]",
            help=f"Wait for a terminal state, {DEFAULT_WAIT} s unless you say how long.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask Luma first.")] = False,
    json: Json = False,
) -> None:
    """Look one generation up. Luma is asked only if it is unknown, or with --fresh.

    Exit code with --wait: 0 completed, 1 failed, 3 gone, 124 the wait ran out.
    """
    from service.cli.output import show_generation

    async def look(tracker: "Tracker") -> Any:
        if wait is not None:
            return await tracker.wait(generation_id, wait, fresh=fresh)
        return await tracker.lookup(generation_id, fresh=fresh)

    answer = _with_tracker(_settings(), look)
    show_generation(answer, as_json=json)
    generation = answer.generation
    if wait is not None and not generation.terminal:
        raise typer.Exit(GONE if generation.gone_at else WAIT_RAN_OUT)
    if wait is not None and generation.state == "failed":
        raise typer.Exit(FAILED)


@app.command("list")
def list_(
    state: Annotated[list[str] | None, typer.Option(help="Repeatable, as are the others.")] = None,
    upstream: Annotated[list[str] | None, typer.Option(help="dream_machine or agents.")] = None,
    operation: Annotated[list[str] | None, typer.Option(help="video, image …")] = None,
    model: Annotated[list[str] | None, typer.Option(help="ray-2, photon-1 …")] = None,
    q: Annotated[
        str | None, typer.Option("-q", "--q", help="Words of prompt, id, failure.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    json: Json = False,
) -> None:
    """List what is stored, newest first; costs no request to Luma."""
    from service.cli.output import show_page
    from service.storage.listing import Query

    query = Query(
        state=tuple(state or ()),
        upstream=tuple(upstream or ()),
        operation=tuple(operation or ()),
        model=tuple(model or ()),
        q=q,
        limit=limit,
        cursor=cursor,
    )
    show_page(_with_tracker(_settings(), lambda tracker: tracker.page(query)), as_json=json)


@app.command()
def replay(
    delivery_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="None: all that are kept.")
    ] = None,
    json: Json = False,
) -> None:
    """Fold deliveries of the inbox again: those named, or all that could not be folded."""
    from service.cli.output import show_replays

    async def again(tracker: "Tracker") -> Any:
        ids = delivery_ids or await tracker.deliveries.kept()
        return [await tracker.deliveries.replay(delivery_id) for delivery_id in ids]

    show_replays(_with_tracker(_settings(), again), as_json=json)


@app.command("callback-url")
def callback_url(
    single: Annotated[
        bool,
        typer.Option("--single", help="Good for one generation only: the first it is used for."),
    ] = False,
    json: Json = False,
) -> None:
    """Print a URL to give to Luma as `callback_url`; whoever has it can tell us things."""
    from service.cli.output import show_fact
    from service.cli.urls import callback_url as made

    settings = _settings()
    if settings.public_url is None:
        typer.echo("TRACKER_PUBLIC_URL is not set: Luma itself cannot reach this URL.", err=True)
    show_fact("callback_url", made(settings, single=single), as_json=json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check settings, database, keys and reachability. Exit code 1 if there is an error."""
    from service.cli.doctor import Level, examine
    from service.cli.output import show_findings

    findings = asyncio.run(examine(_settings()))
    show_findings(findings, as_json=json)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


@db.command()
def upgrade() -> None:
    """Bring the database to this version's schema."""
    from service.cli.schema import upgraded

    typer.echo(asyncio.run(upgraded(_settings())))


@db.command()
def current(json: Json = False) -> None:
    """Print the database's revision, and which old rows the service still rewrites."""
    from service.cli.output import show_revision
    from service.cli.schema import revisions

    show_revision(asyncio.run(revisions(_settings())), as_json=json)


@db.command()
def check() -> None:
    """Whether the database is at this version's schema: 0 yes, 1 no."""
    from service.cli.schema import revisions

    found = asyncio.run(revisions(_settings()))
    typer.echo(f"database: {found.current or 'none'}, this version: {found.head}")
    if found.current != found.head:
        typer.echo("Run `luma-tracker db upgrade`.", err=True)
        raise typer.Exit(1)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Import without looking for garbage all the while: what is imported is none, and stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _settings(**given: Any) -> "Settings":
    from service.config import load_settings

    return load_settings(**given)


def _with_tracker(settings: "Settings", use: Callable[["Tracker"], Awaitable[Any]]) -> Any:
    import logging

    from service.bootstrap import open_tracker
    from service.logs import configure

    configure(logging.WARNING)

    async def run() -> Any:
        async with open_tracker(settings) as tracker:
            return await use(tracker)

    return asyncio.run(run())


def _with_wait(arguments: list[str]) -> list[str]:
    """`--wait` may stand alone, which the library does not know: give it its seconds."""
    whole = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        whole.append(argument)
        if argument == "--wait" and not following.replace(".", "", 1).isdigit():
            whole.append(str(DEFAULT_WAIT))
    return whole
