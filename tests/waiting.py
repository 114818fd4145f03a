"""Waiting for what happens by itself, with a bound."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(holds: Callable[[], T | None], seconds: float = 30) -> T:
    """Return what holds as soon as it does; AssertionError if it does not in time.

    The longer it takes, the less often it is looked at: up to a twentieth of the time so far.
    """
    begun = time.monotonic()
    while not (found := holds()):
        waited = time.monotonic() - begun
        assert waited < seconds, f"still waiting after {seconds} s"
        time.sleep(min(max(0.01, waited / 20), 0.1))
    return found


async def until_async(holds: Callable[[], object], seconds: float = 15) -> None:
    """Wait on the event loop until a condition holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"still waiting after {seconds} s"
        await asyncio.sleep(0.01)
