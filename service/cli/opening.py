"""What commands open and run: settings, coroutines, and the backend that they work on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from service.errors import InvalidInput

if TYPE_CHECKING:
    from service.cli.backend.contract import Backend
    from service.config import Settings
    from service.tracking.callback_tokens import CallbackTokens
    from service.tracking.tracker import Tracker

T = TypeVar("T")
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not to be listened on


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


def with_backend(use: "Callable[[Backend], Awaitable[T]]", *, creating: bool = False) -> T:
    """Run `use` on the running service that TRACKER_URL names, else on the database itself.

    Args:
        use: what to do.
        creating: whether it may create generations.
    """
    settings = load_settings()

    async def open_and_use() -> T:
        opened = _remote(settings) if settings.url else _local(settings, creating=creating)
        async with opened as backend:
            return await use(backend)

    return run(open_and_use())


def on_this_machine(what: str) -> "Settings":
    """Read the settings for a command that works on this machine, and say so if that may surprise.

    Args:
        what: what it works on, such as "the database".
    """
    settings = load_settings()
    if settings.url:
        typer.echo(f"TRACKER_URL is not used: this is about {what} of this machine.", err=True)
    return settings


def service_url(settings: "Settings") -> str:
    """Return the URL of the running service: TRACKER_URL, else that of this machine.

    Raises:
        InvalidInput: the service of this machine takes any free port.
    """
    if settings.url:
        return settings.url
    if settings.port == 0:
        message = "TRACKER_PORT is 0, so the service listens on any free port."
        raise InvalidInput("url", message, "Set TRACKER_URL to its URL.")
    host = _WILDCARDS.get(settings.host, settings.host)
    return settings.model_copy(update={"host": host}).own_url


@asynccontextmanager
async def _remote(settings: "Settings") -> "AsyncIterator[Backend]":
    from service.cli.backend.remote import Remote, client_for

    token = settings.token.get_secret_value() if settings.token else None
    async with client_for(settings.url or "", token) as client:
        yield Remote(client)


@asynccontextmanager
async def _local(settings: "Settings", *, creating: bool) -> "AsyncIterator[Backend]":
    from service.bootstrap import open_parts
    from service.cli.backend.local import Local

    tokens = _callback_tokens(settings) if creating and settings.public_url else None
    async with open_parts(settings, tokens=tokens) as parts:
        yield Local(parts, settings.database_name)


def _callback_tokens(settings: "Settings") -> "CallbackTokens":
    from service.config import callback_secrets
    from service.tracking.callback_tokens import CallbackTokens

    return CallbackTokens(callback_secrets(settings))


def with_tracker(settings: "Settings", use: Callable[["Tracker"], Awaitable[Any]]) -> Any:
    """Run `use` with an open tracker, and return its result."""
    from service.bootstrap import open_tracker

    async def open_and_use() -> Any:
        async with open_tracker(settings) as tracker:
            return await use(tracker)

    return run(open_and_use())
