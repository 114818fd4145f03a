"""Secrets in files: Docker secrets, and the secrets that the service creates."""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from service.errors import SettingsError

_OWNER_ONLY = 0o600
_SIGNING = "whsec_"
_SIDE_FILES = ("-wal", "-shm")
SECRETS = {
    "LUMAAI_API_KEY": "luma_api_key",
    "LUMA_API_KEY": "luma_api_key",
    "LUMA_AGENTS_API_KEY": "luma_agents_api_key",
    "TRACKER_CALLBACK_SECRET": "callback_secret",
    "TRACKER_WEBHOOK_SECRET": "webhook_secret",
    "TRACKER_API_TOKENS": "api_tokens",
    "TRACKER_TOKEN": "token",
    "TRACKER_DATABASE_URL": "database_url",
    "TRACKER_DATABASE_DIRECT_URL": "database_direct_url",
}
_SEVERAL = ("callback_secret", "webhook_secret", "api_tokens")
"""Fields that take several secrets: comma-separated, or in a file one a line."""


class SecretFiles(PydanticBaseSettingsSource):
    """A settings source: reads the file that `NAME_FILE` names, for each secret `NAME`."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str | None]) -> None:
        super().__init__(settings)
        self._environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return nothing: a field may have several names, so `__call__` reads all of them."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets that have a file."""
        found = {}
        for name, field in reversed(SECRETS.items()):
            if path := self._environment.get(f"{name}_FILE".lower()):
                content = _read(f"{name}_FILE", Path(path))
                several = field in _SEVERAL
                found[self._key(field)] = ",".join(content.splitlines()) if several else content
        return found

    def _key(self, field: str) -> str:
        """Return the name under which the other sources have a field, so that the first counts."""
        alias = self.settings_cls.model_fields[field].validation_alias
        return str(alias.choices[0] if isinstance(alias, AliasChoices) else alias or field)


def random_secret() -> str:
    """Return a new secret."""
    return secrets.token_urlsafe(32)


def signing_secret() -> str:
    """Return a new secret in the form of Standard Webhooks."""
    return _SIGNING + base64.b64encode(secrets.token_bytes(32)).decode()


def is_signing_secret(value: str) -> bool:
    """Whether a secret has the form of Standard Webhooks: `whsec_` and base64 of 24-64 bytes."""
    try:
        key = base64.b64decode(value.removeprefix(_SIGNING), validate=True)
    except (binascii.Error, ValueError):
        return False
    return value.startswith(_SIGNING) and 24 <= len(key) <= 64


def stored_secret(name: str, path: Path, make: Callable[[], str] = random_secret) -> str:
    """Return the secret in the file; creates the file if it does not exist.

    Args:
        name: the setting that error messages name.
        path: the file.
        make: returns a new secret.

    Raises:
        SettingsError: the file cannot be read or created, is empty, or has several lines.
    """
    try:
        _create(path, make())
    except OSError as error:
        raise SettingsError(
            f"{name}: {path} cannot be created: {error.strerror}.",
            f"Make the folder writable, or set {name}.",
        ) from error
    stored = _read(name, path)
    _restrict_to_owner(path)
    if not stored:
        raise SettingsError(f"{name}: {path} is empty.", f"Delete the file, or set {name}.")
    if len(stored.splitlines()) > 1:
        raise SettingsError(
            f"{name}: {path} has several lines.",
            f"Leave one secret in it. To rotate, set {name} or {name}_FILE.",
        )
    return stored


def make_private(database: Path) -> None:
    """Create the database's file if needed; only the owner may read it and its side files.

    The database holds prompts and everything Luma reports. SQLite gives new side files its mode.

    Raises:
        OSError: the file cannot be created.
    """
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, _OWNER_ONLY))
    for path in (database, *(database.with_name(database.name + end) for end in _SIDE_FILES)):
        _restrict_to_owner(path)


def _restrict_to_owner(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):  # missing, or owned by another user
        if stat.S_IMODE(path.stat().st_mode) & ~_OWNER_ONLY:
            path.chmod(_OWNER_ONLY)


def _create(path: Path, secret: str) -> None:
    """Create the file atomically: of several processes that start together, one succeeds."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: {path} is not a text file.") from error
