"""The service as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service import __version__
from service.bootstrap import open_tracker
from service.config import Settings, callback_secrets
from service.mcp_server import over_http
from service.tokens import CallbackTokens
from service.web import api, callbacks, health, problems
from service.web.access import Access
from service.web.head import HeadAsGet


class McpEndpoint:
    """`/mcp`: whatever the SDK answers, but no endless stream for a GET."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a POST on to the SDK."""
        if scope["method"] == "POST":
            await scope["app"].state.mcp.handle_request(scope, receive, send)
            return
        refusal: Response = problems.problem(
            HTTPStatus.METHOD_NOT_ALLOWED, "MCP is spoken by POST here.", headers={"Allow": "POST"}
        )
        await refusal(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The application; its database is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_tracker(settings) as tracker:
            mcp = over_http(tracker)
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
    app.state.tokens = CallbackTokens(callback_secrets(settings))
    problems.install(app)
    for router in (callbacks.router, api.router, health.router):
        app.include_router(router)
    app.router.routes.append(Route("/mcp", McpEndpoint(), include_in_schema=False))
    _guard(app, settings)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    names = {settings.host}
    if settings.public_url:
        names.add(urlsplit(settings.public_url).hostname or "")
    app.add_middleware(
        Access,
        tokens=[token.get_secret_value() for token in settings.api_tokens],
        origins=settings.cors_origins,
        names=names,
    )
    app.add_middleware(HeadAsGet)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Prefer"],
            expose_headers=["Age", "Cache-Status", "ETag", "Link", "Retry-After"],
        )
