"""Secrets that are in files: those that Docker hands out, and the one that we make and keep."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from service.errors import SettingsError

_OURS = 0o600
_BESIDE = ("-wal", "-shm")
SECRETS = {
    "LUMAAI_API_KEY": "luma_api_key",
    "LUMA_API_KEY": "luma_api_key",
    "LUMA_AGENTS_API_KEY": "luma_agents_api_key",
    "TRACKER_CALLBACK_SECRET": "callback_secret",
    "TRACKER_API_TOKENS": "api_tokens",
    "TRACKER_DATABASE_URL": "database_url",
    "TRACKER_DATABASE_DIRECT_URL": "database_direct_url",
}


class SecretFiles(PydanticBaseSettingsSource):
    """Reads `NAME_FILE` for every secret `NAME`, as Docker hands secrets out."""

    def __init__(self, settings: type[BaseSettings], environment: dict[str, str | None]) -> None:
        super().__init__(settings)
        self._environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Nothing, field by field: a field may have several names, so `__call__` does it."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets that have a file."""
        return {
            field: _read(f"{name}_FILE", Path(path))
            for name, field in reversed(SECRETS.items())
            if (path := self._environment.get(f"{name}_FILE".lower()))
        }


def stored_secret(name: str, path: Path) -> str:
    """The secret in the file; made once, where there is none.

    Args:
        name: the setting that complaints speak of.

    Raises:
        SettingsError: the file cannot be read or made.
    """
    try:
        _create(path)
    except OSError as error:
        raise SettingsError(f"{name}: {path}: {error.strerror}.") from error
    kept = _read(name, path)
    _close_to_others(path)
    if not kept:
        raise SettingsError(f"{name}: {path} is empty; delete it, or set it.")
    return kept


def make_private(database: Path) -> None:
    """Make a database's file if it is not there; nobody else may read it, nor what lies beside it.

    It holds prompts and all that Luma says. SQLite gives the files beside it the same mode.

    Raises:
        OSError: it cannot be made.
    """
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, _OURS))
    for path in (database, *(database.with_name(database.name + end) for end in _BESIDE)):
        _close_to_others(path)


def _close_to_others(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):  # not there, or somebody else's to say
        if stat.S_IMODE(path.stat().st_mode) & ~_OURS:
            path.chmod(_OURS)


def _create(path: Path) -> None:
    """Of several processes that start at once, one makes it; it appears whole or not at all."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OURS)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{name}: {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: {path} is no text.") from error
