"""Exit codes, and how an error of ours ends a command: one line, and what to do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from service import errors

FAILED = 1
GONE = 3  # Luma knows it no longer, as good as not found
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
def refusals() -> Iterator[None]:
    """Turn what we foresaw into a line on stderr and an exit code."""
    try:
        yield
    except errors.TrackerError as error:
        typer.echo(f"luma-tracker: {error} {error.hint}".rstrip(), err=True)
        sys.exit(next(code for kind, code in _CODES.items() if isinstance(error, kind)))
    except BrokenPipeError:
        # Whoever read us has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
