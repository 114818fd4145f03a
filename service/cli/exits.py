"""Exit codes, and how an error ends a command: one line on stderr with what to do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from service import errors

if TYPE_CHECKING:
    from service.cli.backend.contract import Reply

FAILED = 1
USAGE = 2
NOT_FOUND = 3
GONE = 3  # Luma no longer has it; the same code as not found
REFUSED = 4
UNREACHABLE = 5
WAIT_RAN_OUT = 124

_CODES: dict[type[errors.TrackerError], int] = {
    errors.InvalidInput: USAGE,
    errors.SettingsError: USAGE,
    errors.NotFound: NOT_FOUND,
    errors.UpstreamUnavailable: UNREACHABLE,
    errors.UpstreamError: REFUSED,
    errors.TrackerError: FAILED,
}


class CommandError(errors.TrackerError):
    """An error that knows its exit code, such as one that a running service answered."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Turn a `TrackerError` into one line on stderr and an exit code."""
    try:
        yield
    except errors.TrackerError as error:
        typer.echo(f"luma-tracker: {error} {error.hint}".rstrip(), err=True)
        if isinstance(error, errors.InvalidQuery):
            typer.echo(error.pointed, err=True)
        sys.exit(code_of(error))
    except BrokenPipeError:
        # The reader of stdout has closed it. Without this, Python reports it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)


def code_of(error: errors.TrackerError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, CommandError):
        return error.code
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


def exit_by_outcome(reply: "Reply") -> None:
    """End the command with the exit code of a wait, unless the generation was completed."""
    generation = reply.document
    if not generation["terminal"]:
        raise typer.Exit(GONE if generation["gone_at"] else WAIT_RAN_OUT)
    if generation["state"] == "failed":
        raise typer.Exit(FAILED)
