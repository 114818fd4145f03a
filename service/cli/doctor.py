"""Looks at everything that has to be right, and says what is not."""

import stat
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from service.bootstrap import make_upstreams
from service.cli.schema import contents, revisions
from service.config import Settings
from service.errors import NotFound, TrackerError
from service.luma import LumaClient, Upstream
from service.tracking.tracker import utc_now

CALLBACKS_ONLY = (
    "TRACKER_PUBLIC_URL is set without TRACKER_API_TOKENS: only /callbacks/, /healthz and "
    "/readyz are served; set tokens to look generations up by HTTP"
)
"""What `serve` and `doctor` say of it."""

_NOBODY = "00000000-0000-4000-8000-000000000000"
"""An id that no generation has: asking for it shows whether a key is accepted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    about: str
    told: str
    wrong: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


async def examine(settings: Settings) -> list[Finding]:
    """All findings; asks each upstream that has a key once, and our own public URL."""
    async with LumaClient(settings.upstream_timeout) as client:
        return [finding async for finding in _findings(settings, client)]


async def _findings(settings: Settings, client: LumaClient) -> AsyncIterator[Finding]:
    yield await _database(settings)
    yield _secret(settings)
    upstreams = make_upstreams(settings, client, utc_now)
    if not upstreams:
        yield Finding("upstreams", "no key; set LUMAAI_API_KEY or LUMA_AGENTS_API_KEY", wrong=True)
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
        return Finding(about, str(error), wrong=True)
    if found.current is None:
        return Finding(about, "not there yet; `serve` makes it")
    if found.current != found.head:
        told = f"at revision {found.current}, wanted {found.head}: `luma-tracker db upgrade`"
        return Finding(about, told, wrong=True)
    given_up = (await contents(settings, ())).deliveries_given_up
    if given_up:
        told = f"{given_up} deliveries could not be folded: see `luma-tracker replay --help`"
        return Finding(about, told, wrong=True)
    return Finding(about, f"at revision {found.current}")


def _secret(settings: Settings) -> Finding:
    if settings.callback_secret:
        return Finding("callback secret", "from TRACKER_CALLBACK_SECRET")
    if settings.on_server:
        return Finding("callback secret", "TRACKER_CALLBACK_SECRET is not set", wrong=True)
    path = settings.secret_path
    if not path.exists():
        return Finding("callback secret", "not there yet; made when it is needed")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("callback secret", f"others can read it: chmod 600 {path}", wrong=True)
    return Finding("callback secret", str(path))


async def _upstream(upstream: Upstream, confirmed: str | None) -> Finding:
    about = f"upstream {upstream.name}"
    try:
        await upstream.fetch(_NOBODY)
    except NotFound:
        return await _account(upstream, confirmed)
    except TrackerError as error:
        return Finding(about, str(error), wrong=True)
    return Finding(about, f"{upstream.base_url} knows a generation that cannot be", wrong=True)


async def _account(upstream: Upstream, confirmed: str | None) -> Finding:
    """Whether it still knows what it confirmed: with a key of another account it does not."""
    about = f"upstream {upstream.name}"
    try:
        if confirmed:
            await upstream.fetch(confirmed)
    except NotFound:
        told = f"{upstream.base_url} does not know {confirmed}, which it confirmed before: "
        return Finding(about, f"{told}check the URL, and the account of the key", wrong=True)
    except TrackerError as error:
        return Finding(about, str(error), wrong=True)
    return Finding(about, f"{upstream.base_url} answers, and takes the key")


async def _public_url(settings: Settings, client: LumaClient) -> Finding:
    if settings.public_url is None:
        return Finding("callbacks", "TRACKER_PUBLIC_URL is not set: Luma cannot call back")
    if await client.reaches(f"{settings.public_url}/healthz"):
        return Finding("callbacks", f"{settings.public_url} reaches a service")
    told = f"{settings.public_url}/healthz does not answer 200: is the service up, and the tunnel?"
    return Finding("callbacks", told, wrong=True)


def _access(settings: Settings) -> Finding:
    if settings.api_tokens:
        return Finding("access", f"{len(settings.api_tokens)} bearer token(s)")
    if settings.callbacks_only:
        return Finding("access", CALLBACKS_ONLY)
    return Finding("access", "no TRACKER_API_TOKENS: open to every program on this machine")
