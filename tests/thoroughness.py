"""How thorough a run is: enough for every change, or with `CI` set, all that there is."""

import os


def in_ci() -> bool:
    """Whether this run does everything."""
    return bool(os.environ.get("CI"))


def rounds(usual: int, thorough: int) -> int:
    """The number of rounds, examples or seconds of this run."""
    return thorough if in_ci() else usual
