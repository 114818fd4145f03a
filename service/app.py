"""The service as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service import __version__
from service.bootstrap import open_service
from service.config import Settings, callback_secrets
from service.mcp_server import HttpTransport
from service.tracking.callback_tokens import CallbackTokens
from service.web import callbacks, problems
from service.web.api import deliveries, events, generations, health, openapi
from service.web.fast_path import FastPath
from service.web.guards.access import AccessGuard
from service.web.guards.authentication import Authenticator
from service.web.guards.head import HeadAsGet
from service.web.guards.slow_log import SlowLog
from service.web.mcp import McpEndpoint
from service.web.security_headers import SecurityHeaders
from service.web.server.fast_protocol import SendPrepared

_ALLOWED = [
    *("Authorization", "Cache-Control", "Content-Type"),
    *("If-None-Match", "Last-Event-ID", "Prefer"),
    *(
        "Mcp-Protocol-Version",
        "Mcp-Session-Id",
        "Mcp-Method",
        "Mcp-Name",
    ),
]
_EXPOSED = [
    *("Age", "Cache-Status", "ETag", "Link", "Missed-Before"),
    *("Preference-Applied", "Retry-After"),
]


class Application(FastAPI):
    """FastAPI, behind what needs nothing of it."""

    front: FastPath
    entrance: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request comes in here, but those that `respond` takes."""
        await self.entrance(scope, receive, send)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Our own server's hook for answers that need no task, see `FastProtocol`."""
        return self.front.respond(scope, body, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """And goes on here, if it is not answered in front."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> Application:
    """The application; its database is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings) as tracker:
            mcp = HttpTransport(tracker, fast=settings.mcp_fast)
            app.state.tracker, app.state.mcp = tracker, mcp
            async with mcp.run():
                yield

    app = Application(
        title="luma-tracker",
        version=__version__,
        summary="The state of every Luma generation, from a store that answers at once.",
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # asked anew each time
    )
    app.state.public_url = settings.public_url
    app.state.tokens = CallbackTokens(callback_secrets(settings))
    problems.install(app)
    openapi.install(app)
    for router in (
        callbacks.router,
        generations.router,
        events.router,
        deliveries.router,
        health.router,
    ):
        app.include_router(router)
    _guard(app, settings)
    return app


def _guard(app: Application, settings: Settings) -> None:
    tokens = [token.get_secret_value() for token in settings.api_tokens]
    visitors = Authenticator(tokens, callbacks_only=settings.callbacks_only)
    app.state.visitors = visitors
    app.add_middleware(McpEndpoint, state=app.state)
    app.add_middleware(SlowLog, after=settings.slow_after)
    app.add_middleware(AccessGuard, visitors=visitors, origins=settings.cors_origins)
    app.add_middleware(HeadAsGet)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
        )
    app.add_middleware(SecurityHeaders)
    receiver = callbacks.CallbackReceiver(app.state, slow_after=settings.slow_after)
    mcp = SecurityHeaders(
        SlowLog(McpEndpoint(app.behind, state=app.state), after=settings.slow_after)
    )
    app.front = FastPath(
        app.behind,
        callbacks=receiver,
        mcp=mcp,
        state=app.state,
        visitors=visitors,
        slow_after=settings.slow_after,
    )
    app.entrance = ServerErrorMiddleware(app.front, handler=problems.unforeseen)
