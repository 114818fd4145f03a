"""The ASGI application: FastAPI with its routes, and the middleware in front of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import __version__
from service.bootstrap import Parts, open_service
from service.config import Settings, callback_secrets
from service.mcp_server import Caller, HttpTransport, ResourceUpdates, Service
from service.tracking.callback_tokens import CallbackTokens
from service.web import callbacks, gateway, pages, problems
from service.web.api import (
    assets,
    backfill,
    deliveries,
    docs,
    events,
    generations,
    health,
    openapi,
    stats,
    submissions,
    webhooks,
)
from service.web.fast_path import FastPath
from service.web.guards.access import AccessGuard
from service.web.guards.authentication import Authenticator
from service.web.guards.head import HeadAsGet
from service.web.guards.slow_log import SlowLog
from service.web.mcp import McpEndpoint
from service.web.security_headers import SecurityHeaders
from service.web.server.fast_protocol import SendPrepared

_SUMMARY = "The state of every Luma generation, answered from a local store without waiting."
_ALLOWED_HEADERS = [
    *("Authorization", "Cache-Control", "Content-Type"),
    *("Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer", "X-Callback-URL"),
    *("Mcp-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name"),
]
_EXPOSED_HEADERS = [
    *(
        "Age",
        "Cache-Status",
        "Content-Disposition",
        "ETag",
        "Idempotency-Replayed",
        "Link",
        "Missed-Before",
    ),
    *("Preference-Applied", "Retry-After", "X-Submission-Id"),
]
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False)
"""Else FastAPI checks for telemetry on each request."""

_ROUTERS = (
    callbacks.router,
    generations.router,
    assets.router,
    events.router,
    deliveries.router,
    stats.router,
    backfill.router,
    webhooks.router,
    health.router,
    docs.router,
    submissions.router,
    *pages.ROUTERS,
)


class Application(FastAPI):
    """FastAPI, with a fast path in front of it that answers most requests alone."""

    fast_path: FastPath
    outermost: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every request that `respond` does not take."""
        await self.outermost(scope, receive, send)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Answer without a task, if possible; our own server calls this first (`FastProtocol`)."""
        return self.fast_path.respond(scope, body, send)

    async def call_framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the middleware and FastAPI; the fast path passes on to here."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings, *, tunnelled: bool = False) -> Application:
    """Build the application. Its lifespan opens and closes the database.

    Args:
        settings: the settings.
        tunnelled: whether the public URL leads to another socket than this application's.
    """
    app = _make_application(settings)
    app.state.public_url = settings.public_url
    app.state.page_policy = pages.policy((settings.dream_machine_url, settings.agents_url))
    app.state.tokens = CallbackTokens(callback_secrets(settings))
    tokens = [token.get_secret_value() for token in settings.api_tokens]
    app.state.authenticator = Authenticator(
        tokens,
        callbacks_only=settings.callbacks_only and not tunnelled,
        session_keys=callback_secrets(settings),
    )
    problems.install(app)
    app.add_exception_handler(404, pages.unknown_path)
    openapi.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    _add_middleware(app, settings)
    _put_in_front(app, settings)
    return app


def _make_application(settings: Settings) -> Application:
    """Make it without routes or middleware."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings, tokens=app.state.tokens) as parts:
            mcp = HttpTransport(_mcp_service(app, settings, parts), fast=settings.mcp_fast)
            app.state.tracker, app.state.mcp = parts.tracker, mcp
            app.state.gateway = parts.gateway
            async with mcp.run():
                yield

    return Application(
        title="luma-tracker",
        version=__version__,
        summary=_SUMMARY,
        description="docs/rest.md describes the routes with examples.",
        contact={"name": "The administrator of this service"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own pages load scripts from a CDN; ours are in `web/api/docs.py`
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )


def _mcp_service(app: FastAPI, settings: Settings, parts: Parts) -> Service:
    """Return what MCP works on: each request may do what its token may do."""
    authenticator: Authenticator = app.state.authenticator

    def caller_of(request: Request | None) -> Caller:
        authorization = request.headers.get("authorization", "") if request else ""
        digest = authenticator.digest_of(authorization.encode("latin-1"))
        may_write = authenticator.may_write(digest) if digest else not authenticator.need_tokens
        return Caller(digest.hex() if digest else "", may_write and not settings.mcp_read_only)

    updates = ResourceUpdates(parts.tracker.history)
    return Service(parts.tracker, parts.gateway, updates, caller_of)


def _add_middleware(app: Application, settings: Settings) -> None:
    """Wrap the routes; each middleware is in front of those that were added before it."""
    app.add_middleware(gateway.GatewayEndpoint)
    app.add_middleware(McpEndpoint, state=app.state)
    app.add_middleware(SlowLog, after=settings.slow_after)
    app.add_middleware(
        AccessGuard, authenticator=app.state.authenticator, origins=settings.cors_origins
    )
    app.add_middleware(HeadAsGet)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )
    app.add_middleware(SecurityHeaders)


def _put_in_front(app: Application, settings: Settings) -> None:
    """Put the fast path in front of all middleware."""
    slow_after = settings.slow_after
    mcp = SlowLog(McpEndpoint(app.call_framework, state=app.state), after=slow_after)
    app.fast_path = FastPath(
        app.call_framework,
        callbacks=callbacks.CallbackReceiver(app.state, slow_after=slow_after),
        mcp=SecurityHeaders(mcp),
        state=app.state,
        authenticator=app.state.authenticator,
        slow_after=slow_after,
    )
    app.outermost = ServerErrorMiddleware(app.fast_path, handler=problems.unforeseen)
