"""Settings, from the environment, `.env` and secret files. No other module reads the environment.

`SettingsError` messages name the setting, the value that is wrong, and what to set.
"""

from service.config.environment import (
    ClientFolders,
    client_folders,
    environment_for,
    environment_of_tunnel,
    inherited_socket,
)
from service.config.loading import (
    callback_secrets,
    load_settings,
    require_tokens,
    webhook_secrets,
)
from service.config.settings import Settings

__all__ = [
    "ClientFolders",
    "Settings",
    "callback_secrets",
    "client_folders",
    "environment_for",
    "environment_of_tunnel",
    "inherited_socket",
    "load_settings",
    "require_tokens",
    "webhook_secrets",
]
