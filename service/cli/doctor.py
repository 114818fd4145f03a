"""The command that checks an installation: `doctor`."""

import typer

from service.cli.exits import FAILED
from service.cli.opening import on_this_machine, run
from service.cli.options import Json

commands = typer.Typer()


@commands.command()
def doctor(json: Json = False) -> None:
    """Check the settings, the database, the API keys and the public URL.

    Sends one or two requests to each upstream that has a key. The exit code is 1
    if there is an error; warnings do not count.

    Example:

      luma-tracker doctor --json
    """
    from service.cli.doctor_checks import examine
    from service.cli.findings import Level
    from service.cli.output import show_findings

    findings = run(examine(on_this_machine("the installation")))
    show_findings(findings, as_json=json)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(FAILED)
