"""The settings: their names, types, defaults and checks."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.config.secret_files import SecretFiles, is_signing_secret
from service.config.values import (
    ArchiveLocation,
    BaseUrl,
    HeaderSecret,
    Listed,
    Origins,
    SecretPair,
    TokenList,
    server_url,
    without_blanks,
)
from service.domain.addresses import Network, is_loopback, parse_networks
from service.domain.request_budget import Rate
from service.domain.sizes import parse_size

_PARTS = re.compile(r"://([^/?#]*)([^?#]*)(.*)", re.DOTALL)  # urllib parses one host at most


class Settings(BaseSettings):
    """All settings. The variable of a field is `TRACKER_` and its name, unless an alias is given.

    A secret can also be read from a file: `NAME_FILE` names it.
    """

    model_config = SettingsConfigDict(
        env_prefix="TRACKER_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    luma_api_key: HeaderSecret | None = Field(
        None, validation_alias=AliasChoices("LUMAAI_API_KEY", "LUMA_API_KEY")
    )
    """Key of the Dream Machine API. Without it nothing is fetched or verified there."""
    luma_agents_api_key: HeaderSecret | None = Field(None, validation_alias="LUMA_AGENTS_API_KEY")
    """Key of the Agents API. Without it nothing is fetched or verified there."""
    dream_machine_url: BaseUrl = "https://api.lumalabs.ai/dream-machine/v1"
    """Base URL of the Dream Machine API."""
    agents_url: BaseUrl = "https://agents.lumalabs.ai/v1"
    """Base URL of the Agents API."""
    database_url: str = Field("", repr=False)
    """`sqlite:///` and the path of a file, or `postgresql://…`.

    Empty: `tracker.db` in the user's data directory.
    """
    database_direct_url: str = Field("", repr=False)
    """The same PostgreSQL database without a pooler, for migrations and notifications."""
    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback, `api_tokens` must be set."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0: any free port."""
    public_url: BaseUrl | None = None
    """URL under which Luma reaches this service. Without it Luma sends no callbacks."""
    callback_secret: SecretPair = ()
    """Keys that sign callback tokens, comma-separated; the first signs, all are accepted.

    Empty: one is created and stored next to the SQLite file. Required with PostgreSQL.
    """
    api_tokens: TokenList = ()
    """Bearer tokens of clients, comma-separated; `ro:` before a token makes it read-only."""
    stale_after: float = Field(30, gt=0, le=31_536_000)
    """Seconds without news after which an open generation is stale."""
    upstream_timeout: float = Field(10, ge=0.1, allow_inf_nan=False)
    """Seconds for one request to Luma. In less than the minimum, no request can succeed."""
    dream_machine_rate: str = "5/second"
    """Most requests to Dream Machine: a number per `second`, `minute` or `hour`."""
    agents_rate: str = "30/minute"
    """Most requests to the Agents API: a number per `second`, `minute` or `hour`."""
    cors_origins: Origins = ()
    """Origins whose pages may read answers, comma-separated."""
    webhook_secret: SecretPair = ()
    """Secrets that sign the messages to endpoints, `whsec_…`, comma-separated; all sign.

    Empty: one is created and stored next to the SQLite file. With PostgreSQL, nothing is sent.
    """
    webhook_allow: Listed = ()
    """Networks (CIDR) that webhooks and the archive may reach although they are not public."""
    retention_days: float = Field(90, gt=0, le=365_000)
    """Days after which deliveries, events and attempts to send are deleted.

    The maximum is a thousand years: times before the year 1 cannot be represented.
    """
    archive: ArchiveLocation | None = None
    """Where finished assets are kept: a folder, `s3://bucket/prefix`, `gs://…` or `az://…`."""
    archive_max: str | None = None
    """Most bytes kept there, such as `500GB`; the oldest go first. Empty: no limit."""
    reconcile: bool = True
    """Whether this process asks Luma about open generations and unverified states."""
    slow_after: float = Field(1, gt=0, allow_inf_nan=False)
    """Seconds after which a request is logged as slow."""
    cache_size: int = Field(128, ge=0, le=1_000_000)
    """Megabytes of generations kept in memory; 0: none."""
    mcp_fast: bool = True
    """Whether ordinary MCP requests take the fast path."""
    mcp_read_only: bool = False
    """Whether the MCP tools that create or delete are hidden and refused."""
    url: str | None = None
    """URL of a running service that the command line works on, instead of the database."""
    token: HeaderSecret | None = None
    """Token of that service."""

    @field_validator(
        *("cors_origins", "callback_secret", "api_tokens", "webhook_secret", "webhook_allow"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (p.strip() for p in value.split(",")) if part)
        return value

    @field_validator("dream_machine_url", "agents_url", "public_url", "cors_origins", "url")
    @classmethod
    def _is_web_address(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        urls = (value,) if isinstance(value, str) else value or ()
        for url in map(without_blanks, urls):
            parts = urlsplit(url)
            _ = parts.port  # raises if it is not a port
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be a URL such as https://host.example")
        return value.strip().rstrip("/") if isinstance(value, str) else value

    @field_validator("api_tokens")
    @classmethod
    def _are_not_empty(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(token.get_secret_value() == "ro:" for token in value):
            raise ValueError("has `ro:` without a token after it")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _are_signing_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(is_signing_secret(secret.get_secret_value()) for secret in value):
            raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @field_validator("dream_machine_rate", "agents_rate")
    @classmethod
    def _is_rate(cls, value: str) -> str:
        Rate.parse(value)
        return value

    @field_validator("archive_max")
    @classmethod
    def _is_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _is_file_or_server(cls, value: str) -> str:
        if not value:
            return f"sqlite:///{user_data_path('luma-tracker') / 'tracker.db'}"
        if value.startswith("sqlite:///") and not value.endswith((":memory:", "///")):
            return value
        return server_url(value, "must be sqlite:///PATH of a file or postgresql://HOST/DATABASE")

    @field_validator("database_direct_url")
    @classmethod
    def _is_server(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("database_url", "").startswith("sqlite"):
            raise ValueError(
                "is for PostgreSQL only; unset it, or set TRACKER_DATABASE_URL to postgresql://…"
            )
        return value and server_url(value, "must be postgresql://HOST/DATABASE")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment takes precedence over `.env`, each with the files that it names."""
        sources = [init_settings]
        for source in (env_settings, dotenv_settings):
            sources.append(source)
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                sources.append(SecretFiles(settings_cls, source.env_vars))
        return tuple(sources)

    @property
    def on_server(self) -> bool:
        """Whether the database is PostgreSQL."""
        return not self.database_url.startswith("sqlite")

    @property
    def database_path(self) -> Path:
        """The path of the SQLite file."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def database_name(self) -> str:
        """The database for display: without user, password and options."""
        if not self.on_server:
            return str(self.database_path)
        authority, path, rest = _PARTS.findall(self.database_url)[0]
        if "@" in path + rest:  # a password that is not percent-encoded
            return "postgresql://…"
        return f"postgresql://{authority.rpartition('@')[2]}{path}"

    @property
    def secret_path(self) -> Path:
        """The file of the callback secret that is created if none is set."""
        return self.database_path.with_name("callback.secret")

    @property
    def webhook_secret_path(self) -> Path:
        """The file of the signing secret that is created if none is set."""
        return self.database_path.with_name("webhook.secret")

    @property
    def webhook_networks(self) -> tuple[Network, ...]:
        """The networks that webhooks and the archive may reach although they are not public."""
        return parse_networks(self.webhook_allow)

    @property
    def archive_limit(self) -> int | None:
        """The most bytes that the archive may keep; None: no limit."""
        return parse_size(self.archive_max) if self.archive_max else None

    @property
    def callback_base(self) -> str:
        """The URL that callback URLs begin with."""
        return self.public_url or self.own_url

    @property
    def own_url(self) -> str:
        """The URL of the address that the service listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def callbacks_only(self) -> bool:
        """Whether only callbacks are served: `public_url` is not loopback, without tokens."""
        public = urlsplit(self.public_url or "http://localhost").hostname or ""
        return not self.api_tokens and not is_loopback(public)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)
