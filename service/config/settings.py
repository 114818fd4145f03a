"""The settings, and the only place that reads the environment."""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.config.secret_files import SecretFiles, stored_secret
from service.domain.request_budget import Rate
from service.errors import SettingsError

_FIRST_PASSED = 3  # by systemd's protocol
_PARTS = re.compile(r"://([^/?#]*)([^?#]*)(.*)", re.DOTALL)  # urllib knows one host at most
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
Listed = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]


class Settings(BaseSettings):
    """All that can be set; see the README for what each means."""

    model_config = SettingsConfigDict(
        env_prefix="TRACKER_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    luma_api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("LUMAAI_API_KEY", "LUMA_API_KEY")
    )
    luma_agents_api_key: SecretStr | None = Field(None, validation_alias="LUMA_AGENTS_API_KEY")
    dream_machine_url: str = "https://api.lumalabs.ai/dream-machine/v1"
    agents_url: str = "https://agents.lumalabs.ai/v1"
    database_url: str = Field("", repr=False)
    database_direct_url: str = Field("", repr=False)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = None
    callback_secret: SecretList = ()
    api_tokens: SecretList = ()
    stale_after: float = Field(30, gt=0, le=31_536_000)
    upstream_timeout: float = Field(10, gt=0, allow_inf_nan=False)
    dream_machine_rate: str = "5/second"
    agents_rate: str = "30/minute"
    cors_origins: Listed = ()
    retention_days: float = Field(90, gt=0, allow_inf_nan=False)
    reconcile: bool = True
    slow_after: float = Field(1, gt=0, allow_inf_nan=False)
    cache_size: int = Field(128, ge=0, le=1_000_000)
    mcp_fast: bool = True

    @field_validator("cors_origins", "callback_secret", "api_tokens", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (p.strip() for p in value.split(",")) if part)
        return value

    @field_validator("dream_machine_url", "agents_url", "public_url", "cors_origins")
    @classmethod
    def _is_web_address(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for url in (value,) if isinstance(value, str) else value or ():
            parts = urlsplit(url)
            _ = parts.port  # raises where it is no port
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must begin with http:// or https:// and name a host")
        return value.rstrip("/") if isinstance(value, str) else value

    @field_validator("api_tokens")
    @classmethod
    def _are_not_empty(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(token.get_secret_value().strip() == "ro:" for token in value):
            raise ValueError("has `ro:` without a token behind it")
        return value

    @field_validator("dream_machine_rate", "agents_rate")
    @classmethod
    def _is_rate(cls, value: str) -> str:
        Rate.parse(value)
        return value

    @field_validator("luma_api_key", "luma_agents_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_file_or_server(cls, value: str) -> str:
        if not value:
            return f"sqlite:///{user_data_path('luma-tracker') / 'tracker.db'}"
        if value.startswith("sqlite:///") and not value.endswith((":memory:", "///")):
            return value
        return _server(value, "must be sqlite:/// and the path of a file, or postgresql://…")

    @field_validator("database_direct_url")
    @classmethod
    def _is_server(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("database_url", "").startswith("sqlite"):
            raise ValueError("is for PostgreSQL, and TRACKER_DATABASE_URL is a file")
        return value and _server(value, "must be postgresql://…")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before `.env`, and both before the files that they name."""
        environment: dict[str, str | None] = {}
        for source in (dotenv_settings, env_settings):
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                environment.update(source.env_vars)
        files = SecretFiles(settings_cls, environment)
        return init_settings, env_settings, dotenv_settings, files

    @property
    def on_server(self) -> bool:
        """Whether the database is PostgreSQL."""
        return not self.database_url.startswith("sqlite")

    @property
    def database_path(self) -> Path:
        """The file, unless it is on a server."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def database_name(self) -> str:
        """The database as people may see it: without user, password and options."""
        if not self.on_server:
            return str(self.database_path)
        authority, path, rest = _PARTS.findall(self.database_url)[0]
        if "@" in path + rest:  # a password that is not quoted
            return "postgresql://…"
        return f"postgresql://{authority.rpartition('@')[2]}{path}"

    @property
    def secret_path(self) -> Path:
        """Where a callback secret that we made is kept, unless it must be set."""
        return self.database_path.with_name("callback.secret")

    @property
    def callback_base(self) -> str:
        """The address that callback URLs begin with."""
        return self.public_url or self.own_url

    @property
    def own_url(self) -> str:
        """The address that we listen on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def callbacks_only(self) -> bool:
        """Whether there are no tokens, though `public_url` leads here from elsewhere."""
        public = urlsplit(self.public_url or "http://localhost").hostname
        return not self.api_tokens and not _is_loopback(public)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach us."""
        return self.host in _LOOPBACK


def load_settings(**given: Any) -> Settings:
    """The settings from the environment and `.env`; `given` goes before both.

    Raises:
        SettingsError: one line that names the setting.
    """
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{_variable(first['loc'])}: {reason}.") from error
    require_tokens(settings)
    return settings


def require_tokens(settings: Settings) -> None:
    """Refuse to be reachable from elsewhere without tokens.

    Raises:
        SettingsError: it would be.
    """
    if not settings.on_loopback and not settings.api_tokens:
        raise SettingsError(
            f"TRACKER_HOST: {settings.host} can be reached from elsewhere, and there is no "
            "TRACKER_API_TOKENS; set tokens, or listen on 127.0.0.1."
        )


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment of one of several processes on the same database.

    A file is read directly: what one process is told, the next answer of another must show.
    """
    one = {} if settings.on_server else {"TRACKER_CACHE_SIZE": "0"}
    return {**os.environ, **one}


def inherited_socket() -> int | None:
    """The listening socket that systemd's socket activation has given us, if it has."""
    ours = os.environ.get("LISTEN_PID") == str(os.getpid())
    return _FIRST_PASSED if ours and os.environ.get("LISTEN_FDS", "0") != "0" else None


def callback_secrets(settings: Settings) -> list[str]:
    """The keys of the callback tokens, newest first; made once and kept where none is set.

    Raises:
        SettingsError: the file cannot be read or made.
    """
    if settings.callback_secret:
        return [secret.get_secret_value() for secret in settings.callback_secret]
    if settings.on_server:
        raise SettingsError(
            "TRACKER_CALLBACK_SECRET: must be set with PostgreSQL, the same on every instance."
        )
    return [stored_secret("TRACKER_CALLBACK_SECRET", settings.secret_path)]


def _server(url: str, complaint: str) -> str:
    """As libpq spells it, whichever driver was named."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+asyncpg") or not rest:
        raise ValueError(complaint)
    return f"postgresql{separator}{rest}"


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _variable(location: tuple[int | str, ...]) -> str:
    """The environment variable behind a field."""
    name = str(location[0]) if location else "settings"
    return name if name.isupper() else f"TRACKER_{name.upper()}"
