"""Waiting for what happens by itself, with a bound."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Return as soon as something holds; AssertionError if it does not in time.

    The longer it takes, the less often it is looked at: up to a twentieth of the time so far.
    """
    begun = time.monotonic()
    while not holds():
        waited = time.monotonic() - begun
        assert waited < seconds, f"still waiting after {seconds} s"
        time.sleep(min(max(0.01, waited / 20), 0.1))
