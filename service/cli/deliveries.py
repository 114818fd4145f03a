"""The commands on the inbox: `deliveries` and `replay`."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.completion import complete_ids
from service.cli.opening import with_backend
from service.cli.option_sets import takes
from service.cli.options import Cursor, Json, Limit, Outcomes, Yes

if TYPE_CHECKING:
    from service.cli.backend.contract import Backend, Filters
    from service.cli.backend.contract import Json as JsonObject

commands = typer.Typer()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which deliveries to list."""

    outcome: Outcomes = None
    generation: Annotated[
        list[str] | None,
        typer.Option(help="Only this generation; repeatable.", autocompletion=complete_ids),
    ] = None
    limit: Limit = 20
    cursor: Cursor = None

    def filters(self) -> "Filters":
        """Return the query parameters."""
        filters = asdict(self)
        filters["generation_id"] = filters.pop("generation")
        return filters


@commands.command()
@takes(Chosen)
def deliveries(
    chosen: Chosen,
    delivery_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Show this delivery, with the body that Luma sent."),
    ] = None,
    json: Json = False,
) -> None:
    """List the callbacks that Luma sent, newest first, or show one with its body.

    Prints id, time, outcome, generation, duplicates and error, separated by tabs.

    Example:

      luma-tracker deliveries --outcome kept
    """
    from service.cli.delivery_output import show_deliveries, show_delivery

    if delivery_id is not None:
        show_delivery(with_backend(lambda backend: backend.delivery(delivery_id)), as_json=json)
    else:
        page = with_backend(lambda backend: backend.deliveries(chosen.filters()))
        show_deliveries(page, as_json=json)


@commands.command()
def replay(
    delivery_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Delivery ids.")
    ] = None,
    outcome: Outcomes = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", "-q", "--q", help="Only those of the generations that this query finds."
        ),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Merge deliveries of the inbox again: those you name, or those that the options select.

    Without ids and options: all that are not merged yet. With options, it counts
    first and asks. At most 1,000 at once. Replaying is safe: what a delivery told
    is merged as if it came now, and changes nothing that Luma overruled later.

    Prints the id, the outcome and the error of each, separated by tabs.

    Examples:

      luma-tracker replay 01a20377-e053-7be0-9c54-2f1f0d6b9a11

      luma-tracker replay --outcome stale --query lake --yes
    """
    from service.cli.delivery_output import show_replays
    from service.cli.replaying import replay_each, select

    async def replay_them(backend: "Backend") -> "list[JsonObject]":
        ids = delivery_ids or await select(backend, outcome, query, ask=not yes)
        return await replay_each(backend, ids)

    show_replays(with_backend(replay_them), as_json=json)
