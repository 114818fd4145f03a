"""Settings, from the environment, `.env` and secret files; nothing else reads the environment."""

from service.config.settings import (
    Settings,
    callback_secrets,
    environment_for,
    inherited_socket,
    load_settings,
    require_tokens,
)

__all__ = [
    "Settings",
    "callback_secrets",
    "environment_for",
    "inherited_socket",
    "load_settings",
    "require_tokens",
]
