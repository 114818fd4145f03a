"""The parts of the service: built from the settings, and closed again."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from service.bootstrap.databases import migrate
from service.bootstrap.upstreams import make_upstreams
from service.config import Settings, webhook_secrets
from service.luma import LumaClient, Upstream
from service.storage.engine import Database, open_database
from service.storage.request_log import RequestLog
from service.tracking.archive.copier import Copier
from service.tracking.archive.keeping import Archive
from service.tracking.archive.library import Library
from service.tracking.archive.redirects import Redirects
from service.tracking.backfill.walks import Backfill
from service.tracking.background import background
from service.tracking.cache import Cache
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.changes import Changes
from service.tracking.creating.creates import Creates
from service.tracking.creating.recovery import Recovery
from service.tracking.dialling.dialler import Dialler
from service.tracking.fetcher import Fetcher
from service.tracking.gateway import Gateway
from service.tracking.maintenance import Maintenance
from service.tracking.reconciler import Reconciler
from service.tracking.rewriter import Rewriter
from service.tracking.tracker import Tracker, utc_now
from service.tracking.webhooks.attempts import Attempts
from service.tracking.webhooks.endpoints import Webhooks
from service.tracking.webhooks.sender import Sender
from service.tracking.word_indexer import WordIndexer

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one process."""

    tracker: Tracker
    gateway: Gateway
    recovery: Recovery
    reconciler: Reconciler
    maintenance: Maintenance
    rewriter: Rewriter
    word_indexer: WordIndexer
    sender: Sender
    copier: Copier | None
    """Copies assets; None: there is no archive."""


@asynccontextmanager
async def open_tracker(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Tracker]:
    """Open a tracker on the configured database, which is migrated first.

    Nothing runs in the background: it serves the caller only.

    Raises:
        StoreUnavailable: the database cannot be opened or migrated.
    """
    async with open_parts(settings, clock) as parts:
        yield parts.tracker


@asynccontextmanager
async def open_service(
    settings: Settings,
    clock: Callable[[], datetime] = utc_now,
    tokens: CallbackTokens | None = None,
) -> AsyncIterator[Parts]:
    """Open all parts, and run the background loops beside them.

    Args:
        settings: the settings.
        clock: returns the current time, aware and in UTC.
        tokens: creates callback URLs for creates; None: Luma is given none.
    """
    async with open_parts(settings, clock, tokens) as parts:
        loops = [
            *(parts.maintenance.run_refolding, parts.maintenance.run_pruning),
            *(parts.rewriter.run, parts.word_indexer.run, parts.recovery.run),
            *(parts.tracker.backfill.run, parts.tracker.stats.run, parts.sender.run),
        ]
        if settings.reconcile:
            loops.append(parts.reconciler.run)
        if parts.copier:
            loops.append(parts.copier.run)
        async with background(*loops):
            yield parts


@asynccontextmanager
async def open_parts(
    settings: Settings,
    clock: Callable[[], datetime] = utc_now,
    tokens: CallbackTokens | None = None,
) -> AsyncIterator[Parts]:
    """Build all parts in order, and close them in reverse order."""
    await migrate(settings)
    async with AsyncExitStack() as opened:
        database = open_database(settings.database_url, settings.database_direct_url)
        await opened.enter_async_context(database)
        client = await opened.enter_async_context(LumaClient(settings.upstream_timeout))
        yield _build(settings, clock, tokens, database, client, opened)


class _Common(NamedTuple):
    """What most parts are built from."""

    settings: Settings
    clock: Callable[[], datetime]
    database: Database
    upstreams: Mapping[str, Upstream]
    changes: Changes


def _build(
    settings: Settings,
    clock: Callable[[], datetime],
    tokens: CallbackTokens | None,
    database: Database,
    client: LumaClient,
    opened: AsyncExitStack,
) -> Parts:
    """Build all parts on an open database; `opened` closes them."""
    upstreams = make_upstreams(settings, client, clock, partial(RequestLog, database))
    cache = Cache(settings.cache_size * _MEGABYTE)
    changes = Changes(database, cache)
    opened.push_async_callback(changes.close)
    fetcher = Fetcher(database, upstreams, changes, clock)
    opened.push_async_callback(fetcher.close)
    by_name = {upstream.name: upstream for upstream in upstreams}
    common = _Common(settings, clock, database, by_name, changes)
    dialler = Dialler(settings.webhook_networks)
    opened.push_async_callback(dialler.aclose)
    webhooks, sender = _make_webhooks(common, dialler)
    redirects = Redirects(database, dialler, fetcher, clock)
    opened.push_async_callback(redirects.close)
    archive, copier = _make_archive(common, dialler, fetcher, redirects)
    backfill = Backfill(database, by_name, changes, clock)
    tracker = Tracker(
        *(database, fetcher, changes, cache, backfill, webhooks, archive),
        stale_after=timedelta(seconds=settings.stale_after),
        clock=clock,
    )
    opened.push_async_callback(tracker.stats.close)
    return Parts(
        tracker,
        _make_gateway(common, tracker, tokens, opened),
        Recovery(database, by_name, changes, clock),
        Reconciler(database, fetcher, clock),
        Maintenance(database, timedelta(days=settings.retention_days), clock),
        Rewriter(database, clock),
        WordIndexer(database, changes),
        sender,
        copier,
    )


def _make_archive(
    common: _Common, dialler: Dialler, fetcher: Fetcher, redirects: Redirects
) -> tuple[Archive, Copier | None]:
    settings, clock, database, _, changes = common
    stale_after = timedelta(seconds=settings.stale_after)
    if settings.archive is None:
        return Archive(database, None, None, redirects, clock, stale_after), None
    library = Library(settings.archive)
    limit = settings.archive_limit
    copier = Copier(database, library, limit, dialler, fetcher, changes, clock)
    return Archive(database, library, copier, redirects, clock, stale_after), copier


def _make_webhooks(common: _Common, dialler: Dialler) -> tuple[Webhooks, Sender]:
    settings, clock, database, _, changes = common
    attempts = Attempts(database, dialler, partial(webhook_secrets, settings), clock)
    webhooks = Webhooks(database, attempts, settings.webhook_networks, clock)
    return webhooks, Sender(database, attempts, changes, clock)


def _make_gateway(
    common: _Common, tracker: Tracker, tokens: CallbackTokens | None, opened: AsyncExitStack
) -> Gateway:
    settings, clock, database, upstreams, changes = common
    creates = Creates(
        *(database, upstreams, changes, clock),
        timeout=settings.upstream_timeout,
        callback_base=settings.public_url,
        tokens=tokens,
        check_callback_url=tracker.webhooks.check_callback_url,
    )
    opened.push_async_callback(creates.close)
    return Gateway(
        *(database, upstreams, tracker, creates, changes, clock), timeout=settings.upstream_timeout
    )
