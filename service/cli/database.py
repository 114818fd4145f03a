"""The command group `db`: the schema of the database."""

import typer

from service.cli.exits import FAILED
from service.cli.opening import on_this_machine, run
from service.cli.options import Json
from service.cli.suggestions import SuggestingGroup

commands = typer.Typer(
    help="Migrate or inspect the database. Commands that work on it migrate it by themselves.",
    epilog="Example: luma-tracker db check || luma-tracker db upgrade",
    cls=SuggestingGroup,
    no_args_is_help=True,
)


@commands.command()
def upgrade() -> None:
    """Migrate the database to this version's schema; creates it if it does not exist.

    Example:

      TRACKER_DATABASE_URL=sqlite:////var/lib/tracker.db luma-tracker db upgrade
    """
    from service.cli.schema import upgraded

    typer.echo(run(upgraded(on_this_machine("the database"))))


@commands.command()
def current(json: Json = False) -> None:
    """Print the database's revision, and which old rows are still to be rewritten.

    The revision is `none` if there is no database. Rewrites are printed to stderr.

    Example:

      luma-tracker db current --json
    """
    from service.cli.output import show_revision
    from service.cli.schema import revisions

    show_revision(run(revisions(on_this_machine("the database"))), as_json=json)


@commands.command()
def check() -> None:
    """Check whether the database is at this version's schema. Exit code: 0 yes, 1 no.

    Example:

      luma-tracker db check
    """
    from service.cli.schema import revisions

    found = run(revisions(on_this_machine("the database")))
    typer.echo(f"database: {found.current or 'none'}, this version: {found.head}")
    if found.current != found.head:
        typer.echo("Run `luma-tracker db upgrade`.", err=True)
        raise typer.Exit(FAILED)


@commands.command()
def recount() -> None:
    """Count all generations anew for `luma-tracker stats` and GET /v1/stats.

    The service may run meanwhile. `luma-tracker doctor` says whether that is needed.

    Example:

      luma-tracker db recount
    """
    from service.cli.schema import recounted

    typer.echo(f"days: {run(recounted(on_this_machine('the database')))}")
