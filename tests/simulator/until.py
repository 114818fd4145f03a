"""Waiting for what happens by itself, with a bound."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    """Return as soon as `condition` holds; AssertionError when it does not `within` s."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"still waiting after {within} s"
        time.sleep(0.002)
