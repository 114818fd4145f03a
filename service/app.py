"""The service as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service import __version__
from service.bootstrap import open_service
from service.config import Settings, callback_secrets
from service.mcp_server import OverHttp
from service.tokens import CallbackTokens
from service.web import api, callbacks, deliveries, health, live, openapi, problems
from service.web.access import Access
from service.web.head import HeadAsGet
from service.web.headers import SecurityHeaders
from service.web.mcp import Mcp

_ALLOWED = [
    *("Authorization", "Cache-Control", "Content-Type"),
    *("If-None-Match", "Last-Event-ID", "Prefer"),
    *("Mcp-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name"),
]
_EXPOSED = [
    *("Age", "Cache-Status", "ETag", "Link", "Missed-Before"),
    *("Preference-Applied", "Retry-After"),
]


def create_app(settings: Settings) -> FastAPI:
    """The application; its database is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings) as tracker:
            mcp = OverHttp(tracker, fast=settings.mcp_fast)
            app.state.tracker, app.state.mcp = tracker, mcp
            async with mcp.run():
                yield

    app = FastAPI(
        title="luma-tracker",
        version=__version__,
        summary="The state of every Luma generation, from a store that answers at once.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.public_url = settings.public_url
    app.state.tokens = CallbackTokens(callback_secrets(settings))
    problems.install(app)
    openapi.install(app)
    for router in (callbacks.router, api.router, live.router, deliveries.router, health.router):
        app.include_router(router)
    _guard(app, settings)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(Mcp)
    app.add_middleware(
        Access,
        tokens=[token.get_secret_value() for token in settings.api_tokens],
        origins=settings.cors_origins,
    )
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
