"""How often a test repeats itself: enough for every change, or with `CI` set, all that there is."""

import os


def rounds(usual: int, thorough: int) -> int:
    """The number of rounds, examples or seconds of this run."""
    return thorough if os.environ.get("CI") else usual
