"""The command that creates generations: `create`."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.creating.wanted import Wanted
from service.cli.exits import exit_by_outcome
from service.cli.opening import with_backend
from service.cli.option_sets import takes
from service.cli.options import Json, Wait

if TYPE_CHECKING:
    from service.cli.backend.contract import Backend, Order, Reply

commands = typer.Typer()


@commands.command()
@takes(Wanted)
def create(
    wanted: Wanted,
    wait: Wait = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Create a video or image, or one from another generation. It costs credits.

    The create is written down first and goes to Luma at most once. Prints the id;
    with --wait, the generation when it is finished.

    Exit codes: 2 usage, 4 refused, 5 Luma cannot be reached or its answer was
    lost. With --wait also: 1 the generation failed, 124 the wait timed out.

    Examples:

      luma-tracker create --prompt "a lake at sunset" --wait

      luma-tracker create image --model uni-1 --prompt "a poster"

      luma-tracker create upscale --generation ID --resolution 4k

      luma-tracker create --model ray-3.2 --prompt "a lake" --set video.hdr=true
    """
    from service.cli.creating.order import order_of
    from service.cli.creating.shown import show_created, show_order

    order = order_of(wanted)
    if dry_run:
        show_order(order)
        return
    reply = with_backend(lambda backend: _bought(backend, order, wait), creating=True)
    show_created(reply, finished=wait is not None, as_json=json)
    if wait is not None:
        exit_by_outcome(reply)


async def _bought(backend: "Backend", order: "Order", wait: float | None) -> "Reply":
    from service.cli.creating.buying import buy
    from service.cli.creating.shown import show_id
    from service.cli.watching.shown import settled

    generation_id, is_repeated = await buy(backend, order)
    show_id(generation_id, is_repeated=is_repeated, is_awaited=wait is not None)
    if wait is not None:
        return await settled(backend, generation_id, wait)
    return await backend.generation(generation_id)
