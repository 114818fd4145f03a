"""Looks at everything that has to be right, and says what is not."""

import stat
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from service.bootstrap import make_upstreams
from service.cli.schema import contents, revisions
from service.config import Settings
from service.errors import NotFound, TrackerError
from service.luma import LumaClient, Upstream
from service.tracking.tracker import utc_now

NO_API_KEY = (
    "Neither LUMAAI_API_KEY nor LUMA_AGENTS_API_KEY is set: nothing can be fetched from Luma, and "
    "no callback can be verified"
)
CALLBACKS_ONLY = (
    "TRACKER_PUBLIC_URL is set without TRACKER_API_TOKENS: only /callbacks/, /healthz and "
    "/readyz are served; set tokens to look generations up by HTTP"
)
"""What `serve` and `doctor` say of these."""

_NOBODY = "00000000-0000-4000-8000-000000000000"
"""An id that no generation has: asking for it shows whether a key is accepted."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """The service works, but less well than it could, or not as it is probably meant."""
    ERROR = "error"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    about: str
    message: str
    level: Level = Level.OK

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "level": self.level.value}


async def examine(settings: Settings) -> list[Finding]:
    """All findings; asks each upstream that has a key once, and our own public URL."""
    async with LumaClient(settings.upstream_timeout) as client:
        return [finding async for finding in _findings(settings, client)]


async def _findings(settings: Settings, client: LumaClient) -> AsyncIterator[Finding]:
    yield await _database(settings)
    yield _secret(settings)
    upstreams = make_upstreams(settings, client, utc_now)
    if not upstreams:
        yield Finding("upstreams", NO_API_KEY, Level.ERROR)
    for upstream in upstreams:
        rows = await contents(settings, (upstream.name,))
        yield await _upstream(upstream, rows.newest_confirmed[upstream.name])
    yield await _public_url(settings, client)
    yield _access(settings)


async def _database(settings: Settings) -> Finding:
    about = f"database {settings.database_name}"
    try:
        found = await revisions(settings)
    except TrackerError as error:
        return Finding(about, str(error), Level.ERROR)
    if found.current is None:
        return Finding(about, "not there yet; `serve` makes it")
    if found.current != found.head:
        told = f"at revision {found.current}, wanted {found.head}: `luma-tracker db upgrade`"
        return Finding(about, told, Level.ERROR)
    given_up = (await contents(settings, ())).deliveries_given_up
    if given_up:
        told = f"{given_up} deliveries could not be folded: see `luma-tracker replay --help`"
        return Finding(about, told, Level.ERROR)
    return Finding(about, f"at revision {found.current}")


def _secret(settings: Settings) -> Finding:
    if settings.callback_secret:
        return Finding("callback secret", "from TRACKER_CALLBACK_SECRET")
    if settings.on_server:
        return Finding("callback secret", "TRACKER_CALLBACK_SECRET is not set", Level.ERROR)
    path = settings.secret_path
    if not path.exists():
        return Finding("callback secret", "not there yet; made when it is needed")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("callback secret", f"others can read it: chmod 600 {path}", Level.ERROR)
    return Finding("callback secret", str(path))


async def _upstream(upstream: Upstream, confirmed: str | None) -> Finding:
    about = f"upstream {upstream.name}"
    try:
        await upstream.fetch(_NOBODY)
    except NotFound:
        return await _account(upstream, confirmed)
    except TrackerError as error:
        return Finding(about, str(error), Level.ERROR)
    return Finding(about, f"{upstream.base_url} knows a generation that cannot be", Level.ERROR)


async def _account(upstream: Upstream, confirmed: str | None) -> Finding:
    """Whether it still knows what it confirmed: with a key of another account it does not."""
    about = f"upstream {upstream.name}"
    try:
        if confirmed:
            await upstream.fetch(confirmed)
    except NotFound:
        told = f"{upstream.base_url} does not know {confirmed}, which it confirmed before: "
        return Finding(about, f"{told}check the URL, and the account of the key", Level.ERROR)
    except TrackerError as error:
        return Finding(about, str(error), Level.ERROR)
    return Finding(about, f"{upstream.base_url} answers, and takes the key")


async def _public_url(settings: Settings, client: LumaClient) -> Finding:
    if settings.public_url is None:
        told = "TRACKER_PUBLIC_URL is not set: Luma cannot call back, and has to be asked instead"
        return Finding("callbacks", told, Level.WARNING)
    if await client.reaches(f"{settings.public_url}/healthz"):
        return Finding("callbacks", f"{settings.public_url} reaches a service")
    told = f"{settings.public_url}/healthz does not answer 200: is the service up, and the tunnel?"
    return Finding("callbacks", told, Level.ERROR)


def _access(settings: Settings) -> Finding:
    if settings.api_tokens:
        return Finding("access", f"{len(settings.api_tokens)} bearer token(s)")
    if settings.callbacks_only:
        return Finding("access", CALLBACKS_ONLY, Level.WARNING)
    return Finding("access", "no TRACKER_API_TOKENS: open to every program on this machine")
