"""Exit codes, and how an error ends a command: one line on stderr with what to do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from service import errors

FAILED = 1
GONE = 3  # Luma no longer has it; the same code as not found
WAIT_RAN_OUT = 124

_CODES: dict[type[errors.TrackerError], int] = {
    errors.InvalidInput: 2,
    errors.SettingsError: 2,
    errors.NotFound: 3,
    errors.UpstreamRefused: 4,
    errors.UpstreamNonsense: 4,
    errors.UpstreamUnavailable: 5,
    errors.TrackerError: FAILED,
}


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Turn a `TrackerError` into one line on stderr and an exit code."""
    try:
        yield
    except errors.TrackerError as error:
        typer.echo(f"luma-tracker: {error} {error.hint}".rstrip(), err=True)
        sys.exit(next(code for kind, code in _CODES.items() if isinstance(error, kind)))
    except BrokenPipeError:
        # The reader of stdout has closed it. Without this, Python reports it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
