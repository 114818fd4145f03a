"""The command that makes callback URLs: `callback-url`."""

from typing import Annotated

import typer

from service.cli.opening import on_this_machine
from service.cli.options import Json

_NO_PUBLIC_URL = (
    "TRACKER_PUBLIC_URL is not set, so Luma cannot reach this URL. Set TRACKER_PUBLIC_URL to the "
    "https:// address under which Luma reaches this service."
)

commands = typer.Typer()


@commands.command("callback-url")
def callback_url(
    single: Annotated[
        bool,
        typer.Option(
            "--single", help="Accept one generation only: the first that is reported to this URL."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print a URL to pass to Luma as `callback_url`.

    Keep it secret: whoever has it can report states. It begins with
    TRACKER_PUBLIC_URL, and is the same as long as TRACKER_CALLBACK_SECRET is;
    with --single it is new each time.

    Example:

      TRACKER_PUBLIC_URL=https://tracker.example luma-tracker callback-url
    """
    from service.cli.output import show_value
    from service.config import callback_secrets
    from service.tracking.callback_tokens import CallbackTokens

    settings = on_this_machine("the callback secret")
    tokens = CallbackTokens(callback_secrets(settings))
    token = tokens.single() if single else tokens.reusable()
    if settings.public_url is None:
        typer.echo(_NO_PUBLIC_URL, err=True)
    show_value("callback_url", f"{settings.callback_base}/callbacks/{token}", as_json=json)
