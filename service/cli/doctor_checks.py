"""The checks of `luma-tracker doctor`, and what they found."""

import stat
from collections.abc import AsyncIterator

from service.bootstrap import make_upstreams
from service.cli.archive_checks import archive
from service.cli.counter_checks import counts
from service.cli.findings import Finding, Level
from service.cli.schema import contents, revisions
from service.cli.webhook_checks import webhooks
from service.cli.word_checks import words
from service.config import Settings
from service.domain.upstreams import KEY_SETTING, URL_SETTING
from service.errors import NotFound, TrackerError
from service.luma import LumaClient, Upstream
from service.luma.prices import DATES
from service.tracking.tracker import utc_now

NO_API_KEY = (
    "Neither LUMAAI_API_KEY nor LUMA_AGENTS_API_KEY is set: nothing can be fetched from Luma, and "
    "no callback can be verified. Set the key of each API that you use."
)
CALLBACKS_ONLY = (
    "TRACKER_PUBLIC_URL is set without TRACKER_API_TOKENS: only /callbacks/, /healthz and "
    "/readyz are served. Set TRACKER_API_TOKENS to look up generations over HTTP."
)
"""`serve` logs the same."""

_UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
"""An id that no generation has. 404 for it shows that the upstream accepts the key."""

_SHORTEST_SECRET = 16  # bytes
_GUESSABLE = (
    "TRACKER_CALLBACK_SECRET has a key of {} byte(s), which can be guessed, and callbacks forged "
    "with it. Put a new one before it, such as from `openssl rand -hex 32`, with a comma between, "
    "and remove the short one when no open generation has a callback URL made with it"
)


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks.

    Sends one or two requests to each upstream that has a key, and one to the public URL.
    """
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
    yield await webhooks(settings, utc_now())
    yield await archive(settings)
    yield await words(settings)
    yield await counts(settings)
    yield _access(settings)
    yield _prices()


async def _database(settings: Settings) -> Finding:
    about = f"database {settings.database_name}"
    try:
        found = await revisions(settings)
    except TrackerError as error:
        return Finding(about, f"{error} {error.hint}".rstrip(), Level.ERROR)
    if found.current is None:
        return Finding(about, "does not exist yet; `luma-tracker serve` creates it")
    if found.current != found.head:
        message = f"at revision {found.current}, needs {found.head}: run `luma-tracker db upgrade`"
        return Finding(about, message, Level.ERROR)
    given_up = (await contents(settings, ())).deliveries_given_up
    if given_up:
        message = (
            f"{given_up} deliveries failed five times and are not retried: "
            "run `luma-tracker replay` to see why"
        )
        return Finding(about, message, Level.ERROR)
    return Finding(about, f"at revision {found.current}")


def _secret(settings: Settings) -> Finding:
    about = "callback secret"
    if settings.callback_secret:
        shortest = min(len(key.get_secret_value().encode()) for key in settings.callback_secret)
        if shortest < _SHORTEST_SECRET:
            return Finding(about, _GUESSABLE.format(shortest), Level.WARNING)
        return Finding(about, "from TRACKER_CALLBACK_SECRET")
    if settings.on_server:
        message = (
            "TRACKER_CALLBACK_SECRET is not set: set it to the same random string on every "
            "instance that uses this PostgreSQL database"
        )
        return Finding(about, message, Level.ERROR)
    path = settings.secret_path
    if not path.exists():
        return Finding(about, "does not exist yet; created when it is first needed")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(about, f"other users can read it: run `chmod 600 {path}`", Level.ERROR)
    return Finding(about, str(path))


async def _upstream(upstream: Upstream, confirmed: str | None) -> Finding:
    about = f"upstream {upstream.name}"
    try:
        await upstream.fetch(_UNKNOWN_ID)
    except NotFound:
        return await _account(upstream, confirmed)
    except TrackerError as error:
        return Finding(about, f"{error} {error.hint}".rstrip(), Level.ERROR)
    message = (
        f"{upstream.base_url} returns a generation for an id that does not exist: check "
        f"{URL_SETTING[upstream.name]}"
    )
    return Finding(about, message, Level.ERROR)


async def _account(upstream: Upstream, confirmed: str | None) -> Finding:
    """Check that the upstream still has a generation that it confirmed.

    With a key of another account it does not.
    """
    about = f"upstream {upstream.name}"
    try:
        if confirmed:
            await upstream.fetch(confirmed)
    except NotFound:
        message = (
            f"{upstream.base_url} does not have {confirmed}, which it confirmed earlier: check "
            f"{URL_SETTING[upstream.name]}, and that {KEY_SETTING[upstream.name]} belongs to "
            "the same account as before"
        )
        return Finding(about, message, Level.ERROR)
    except TrackerError as error:
        return Finding(about, f"{error} {error.hint}".rstrip(), Level.ERROR)
    return Finding(about, f"{upstream.base_url} answers and accepts the key")


async def _public_url(settings: Settings, client: LumaClient) -> Finding:
    about = "callbacks"
    if settings.public_url is None:
        message = (
            "TRACKER_PUBLIC_URL is not set: Luma cannot send callbacks; the service has to poll. "
            "Set it to the https:// address under which Luma reaches this service"
        )
        return Finding(about, message, Level.WARNING)
    if await client.reaches(f"{settings.public_url}/healthz"):
        return Finding(about, f"a service answers at {settings.public_url}")
    message = (
        f"{settings.public_url}/healthz does not answer 200: check TRACKER_PUBLIC_URL, and that "
        "the service and the tunnel or proxy in front of it are running"
    )
    return Finding(about, message, Level.ERROR)


def _access(settings: Settings) -> Finding:
    if settings.api_tokens:
        return Finding("access", f"{len(settings.api_tokens)} bearer token(s)")
    if settings.callbacks_only:
        return Finding("access", CALLBACKS_ONLY, Level.WARNING)
    return Finding(
        "access", "TRACKER_API_TOKENS is not set: every program on this machine has access"
    )


def _prices() -> Finding:
    lists = " and ".join(f"{date} ({upstream})" for upstream, date in DATES.items())
    return Finding("prices", f"costs are estimated from Luma's price lists of {lists}")
