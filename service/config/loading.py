"""Loads the settings, and checks what concerns several of them."""

from textwrap import shorten
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.config.secret_files import (
    SECRETS,
    is_signing_secret,
    signing_secret,
    stored_secret,
)
from service.config.settings import Settings
from service.errors import SettingsError

_MOST_SHOWN = 60  # characters of an invalid value


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and `.env`; `overrides` take precedence.

    Raises:
        SettingsError: a setting is missing or invalid; one line that names it.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{_variable(first['loc'])}: {reason}{_value(first)}.") from error
    require_tokens(settings)
    return settings


def require_tokens(settings: Settings) -> None:
    """Refuse to listen beyond loopback without tokens.

    Raises:
        SettingsError: other machines can reach the address, and there are no tokens.
    """
    if not settings.on_loopback and not settings.api_tokens:
        raise SettingsError(
            f"TRACKER_HOST: other machines can reach {settings.host}, and TRACKER_API_TOKENS is "
            "not set.",
            "Set TRACKER_API_TOKENS, or TRACKER_HOST=127.0.0.1.",
        )


def callback_secrets(settings: Settings) -> list[str]:
    """Return the keys that sign callback tokens, newest first.

    If none is set, and the database is a file, one is created and stored next to it.

    Raises:
        SettingsError: the file cannot be read or created, or PostgreSQL is used and none is set.
    """
    if settings.callback_secret:
        return [secret.get_secret_value() for secret in settings.callback_secret]
    if settings.on_server:
        raise SettingsError(
            "TRACKER_CALLBACK_SECRET: must be set with PostgreSQL.",
            "Set it to a random string, the same on every instance.",
        )
    return [stored_secret("TRACKER_CALLBACK_SECRET", settings.secret_path)]


def webhook_secrets(settings: Settings) -> list[str]:
    """Return the secrets that sign what is sent to endpoints, in the order of the setting.

    If none is set, and the database is a file, one is created and stored next to it.

    Raises:
        SettingsError: the file cannot be read or created or has another content, or PostgreSQL is
            used and none is set.
    """
    if settings.webhook_secret:
        return [secret.get_secret_value() for secret in settings.webhook_secret]
    if settings.on_server:
        raise SettingsError(
            "TRACKER_WEBHOOK_SECRET: must be set with PostgreSQL before anything can be sent.",
            "Set it to whsec_ and the base64 of 32 random bytes, the same on every instance.",
        )
    path = settings.webhook_secret_path
    secret = stored_secret("TRACKER_WEBHOOK_SECRET", path, signing_secret)
    if not is_signing_secret(secret):
        raise SettingsError(
            f"TRACKER_WEBHOOK_SECRET: {path} does not contain a secret that begins with whsec_.",
            "Delete the file, or set TRACKER_WEBHOOK_SECRET.",
        )
    return [secret]


def _value(error: ErrorDetails) -> str:
    """Return the invalid value for display; nothing for what is or may contain a secret."""
    field = str(error["loc"][0]) if error["loc"] else ""
    if "@" in str(error["input"]):  # a URL with a password
        return ""
    if not field or field in SECRETS or field in SECRETS.values():
        return ""
    return f" (it is {shorten(repr(error['input']), _MOST_SHOWN)})"


def _variable(location: tuple[int | str, ...]) -> str:
    """Return the environment variable of a field."""
    name = str(location[0]) if location else "settings"
    return name if name.isupper() else f"TRACKER_{name.upper()}"
