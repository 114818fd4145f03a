"""The service as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from service import __version__
from service.bootstrap import open_service
from service.config import Settings, callback_secrets
from service.mcp_server import over_http
from service.tokens import CallbackTokens
from service.web import api, callbacks, deliveries, health, live, openapi, problems
from service.web.access import Access
from service.web.body import read_body
from service.web.head import HeadAsGet
from service.web.headers import SecurityHeaders
from service.web.problems import problem

MAX_MCP_BODY = 1024 * 1024  # bytes
_ALLOWED = [
    *("Authorization", "Cache-Control", "Content-Type"),
    *("If-None-Match", "Last-Event-ID", "Prefer"),
    *("Mcp-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name"),
]
_EXPOSED = [
    *("Age", "Cache-Status", "ETag", "Link", "Missed-Before"),
    *("Preference-Applied", "Retry-After"),
]


class McpEndpoint:
    """`/mcp`: whatever the SDK answers to a whole POST, but no endless stream for a GET."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a POST on to the SDK."""
        body = await self._body(Request(scope, receive))
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(whole, None) or await receive()

        await scope["app"].state.mcp.handle_request(scope, again, send)

    async def _body(self, request: Request) -> bytes | Response:
        if request.method != "POST":
            return problem(405, "MCP is spoken by POST here.", headers={"Allow": "POST"})
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            return problem(400, "MCP is spoken in application/json.")
        return await read_body(request.receive, MAX_MCP_BODY)


def create_app(settings: Settings) -> FastAPI:
    """The application; its database is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings) as tracker:
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
        telemetry={"tracing": False, "metrics": False, "logs": False},  # asked anew each time
    )
    app.state.public_url = settings.public_url
    app.state.tokens = CallbackTokens(callback_secrets(settings))
    problems.install(app)
    openapi.install(app)
    for router in (callbacks.router, api.router, live.router, deliveries.router, health.router):
        app.include_router(router)
    app.router.routes.append(Route("/mcp", McpEndpoint(), include_in_schema=False))
    _guard(app, settings)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
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
    app.add_middleware(callbacks.CallbackDoor)
