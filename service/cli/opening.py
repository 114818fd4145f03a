"""What commands open and run: settings, coroutines, and a tracker on the configured database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from service.config import Settings
    from service.tracking.tracker import Tracker

T = TypeVar("T")


def load_settings(**overrides: Any) -> "Settings":
    """Read the settings; `overrides` take precedence over the environment.

    Raises:
        SettingsError: a setting is missing or invalid.
    """
    from service.config import load_settings as load

    return load(**overrides)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end.

    Only warnings and errors are logged, to stderr: stdout belongs to the command's output.
    """
    from service.logs import configure

    configure(logging.WARNING)
    return asyncio.run(coroutine)


def with_tracker(settings: "Settings", use: Callable[["Tracker"], Awaitable[Any]]) -> Any:
    """Run `use` with an open tracker, and return its result."""
    from service.bootstrap import open_tracker

    async def open_and_use() -> Any:
        async with open_tracker(settings) as tracker:
            return await use(tracker)

    return run(open_and_use())
