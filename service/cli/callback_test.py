"""The command that tries the way of Luma's callbacks: `callback-test`."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.exits import FAILED
from service.cli.opening import on_this_machine, with_tracker
from service.cli.options import Json

if TYPE_CHECKING:
    from service.cli.findings import Finding
    from service.tracking.tracker import Tracker

commands = typer.Typer()


@commands.command("callback-test")
def callback_test(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Try this instead of TRACKER_PUBLIC_URL.")
    ] = None,
    json: Json = False,
) -> None:
    """Send ourselves a callback through the public URL, and follow it into the inbox.

    Resolves the name, connects, posts with a true token as Luma does, checks the
    answer, and looks for the callback in the database of this machine. Says for
    each step what is so, or what is wrong and what to do. The callback is of no
    generation, and is removed again. The service must be running.

    Exit code: 1 if something is wrong; warnings do not count.

    Example:

      luma-tracker callback-test --url https://random-words.trycloudflare.com
    """
    from service.cli.findings import Level
    from service.cli.output import show_findings
    from service.cli.reaching import journey

    settings = on_this_machine("the callback secret and the database")

    async def follow(tracker: "Tracker") -> "list[Finding]":
        return [each async for each in journey.findings(settings, url, tracker.deliveries)]

    found = with_tracker(settings, follow)
    show_findings(found, as_json=json)
    if any(finding.level is Level.ERROR for finding in found):
        raise typer.Exit(FAILED)
