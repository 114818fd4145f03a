"""Updates of resources, for clients that subscribe to them.

events of all instances ─► ResourceUpdates ─┬─► SDK's ListenHandler   subscriptions/listen, 2026
                                            └─► ConnectionUpdates     resources/subscribe, 2025

Without subscribers, nothing is read. What is missed before a subscription is not sent: a client
reads the resource after it has subscribed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from mcp.server.subscriptions import ListenHandler, ResourceUpdated, ServerEvent
from mcp_types import (
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from service.mcp_server.resources import uri_of
from service.tracking.history import History

_HEARTBEAT = 15.0  # seconds without an event; nothing is sent then
Listener = Callable[[ServerEvent], None]


class Session(Protocol):
    """The connection of a client."""

    async def send_resource_updated(self, uri: str) -> None:
        """Send a notification."""


class ResourceUpdates:
    """Follows the changes of all generations while somebody listens.

    Args:
        history: the events of all instances.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._listeners: dict[object, Listener] = {}
        self._following: asyncio.Task[None] | None = None
        self._users = 0
        self._starting = asyncio.Lock()
        self._listen = ListenHandler(self)

    async def publish(self, event: ServerEvent) -> None:
        """Pass an event to all listeners."""
        for listener in [*self._listeners.values()]:
            listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener, and return a function that removes it."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the changes while the context is open, from now on.

        Raises:
            StoreUnavailable: the database failed.
        """
        async with self._starting:
            if self._following is None:
                newest = await self._history.newest()
                self._following = asyncio.create_task(self._follow(newest), name="mcp-updates")
            self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._following.cancel()
                self._following = None

    async def listen(
        self, context: Any, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve `subscriptions/listen`, until the client leaves or the service stops."""
        async with self.following():
            return await self._listen(context, params)

    async def _follow(self, seq: int) -> None:
        async for batch in self._history.follow(seq, _HEARTBEAT):
            for generation_id in dict.fromkeys(event.generation_id for event in batch.events):
                await self.publish(ResourceUpdated(uri_of(generation_id)))
        self._listen.close()


class ConnectionUpdates:
    """The subscriptions of one lasting connection, as clients of 2025 make them."""

    def __init__(self, updates: ResourceUpdates) -> None:
        self._updates = updates
        self._uris: set[str] = set()
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._open = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None

    async def subscribe(self, context: Any, params: SubscribeRequestParams) -> EmptyResult:
        """Serve `resources/subscribe`."""
        async with self._starting:
            if self._sending is None:
                await self._start(context.session)
        self._uris.add(params.uri)
        return EmptyResult()

    async def unsubscribe(self, _context: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        """Serve `resources/unsubscribe`."""
        self._uris.discard(params.uri)
        return EmptyResult()

    async def close(self) -> None:
        """Stop, because the connection has ended."""
        await self._open.aclose()
        if self._sending:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _start(self, session: Session) -> None:
        await self._open.enter_async_context(self._updates.following())
        self._open.callback(self._updates.subscribe(self._note))
        self._sending = asyncio.create_task(self._send(session), name="mcp-connection")

    def _note(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self._uris:
            self._changed[event.uri] = None
            self._wake.set()

    async def _send(self, session: Session) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, {}
            for uri in changed:
                await session.send_resource_updated(uri)
