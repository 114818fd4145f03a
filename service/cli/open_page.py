"""The command that shows a generation in the browser: `open`."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.exits import FAILED, NOT_FOUND, CommandError
from service.cli.opening import load_settings, service_url, with_backend
from service.cli.options import Id

if TYPE_CHECKING:
    from service.cli.backend.contract import Json

commands = typer.Typer()


@commands.command("open")
def open_(
    generation_id: Id,
    asset: Annotated[
        bool, typer.Option("--asset", help="Open the video or image itself, not its page.")
    ] = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the URL instead of opening it.")
    ] = False,
) -> None:
    """Open the page of a generation in the browser.

    The page is that of the service which TRACKER_URL names, else of the service on
    this machine, which must be running.

    Example:

      luma-tracker open 12d69920-e07b-41ae-af29-df4d37d5b864 --asset
    """
    import webbrowser

    generation = with_backend(lambda backend: backend.generation(generation_id)).document
    page = f"{service_url(load_settings())}/generations/{generation_id}"
    url = _asset(generation) if asset else page
    if only_print:
        typer.echo(url)
    elif not webbrowser.open(url):
        raise CommandError(FAILED, "No browser was found.", f"Open {url}")


def _asset(generation: "Json") -> str:
    """Return the URL of the result.

    Raises:
        CommandError: there is none.
    """
    url: str | None = generation["assets"]["video"] or generation["assets"]["image"]
    if url is None:
        id_, state = generation["id"], generation["state"]
        hint = "" if generation["terminal"] else f"Wait for it: luma-tracker watch {id_}"
        raise CommandError(NOT_FOUND, f"{id_} has no video or image: it is {state}.", hint)
    return url
