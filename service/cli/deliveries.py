"""The command on the inbox: `replay`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.opening import load_settings, with_tracker
from service.cli.options import Json

if TYPE_CHECKING:
    from service.tracking.tracker import Tracker

commands = typer.Typer()


@commands.command()
def replay(
    delivery_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Delivery ids; without any, all that are not merged yet (at most 1,000).",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Merge deliveries of the inbox again: those you name, or all that are not merged yet.

    Prints the id, the outcome and the error of each, separated by tabs.

    Example:

      luma-tracker replay 01a20377-e053-7be0-9c54-2f1f0d6b9a11
    """
    from service.cli.output import show_replays

    async def replay_each(tracker: "Tracker") -> Any:
        ids = delivery_ids or await tracker.deliveries.kept()
        return [await tracker.deliveries.replay(delivery_id) for delivery_id in ids]

    show_replays(with_tracker(load_settings(), replay_each), as_json=json)
