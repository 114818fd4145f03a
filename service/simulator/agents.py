"""The Agents API: generations and files. Generations have no list, no delete and no callback."""

from collections.abc import Collection
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.simulator.agents_files import AgentsFiles, add_files
from service.simulator.auth import bearer_guard
from service.simulator.creates import AgentsCreate
from service.simulator.engine import Engine
from service.simulator.limits import ConcurrencyLimit, RequestLimit
from service.simulator.world import Generation

API_VERSION = "2026-04-01"


class Agents:
    """The functions of the routes of generations."""

    def __init__(self, engine: Engine, limit: ConcurrencyLimit, *, accept_any_id: bool) -> None:
        self._engine = engine
        self._limit = limit
        self._accept_any_id = accept_any_id

    async def create(self, body: AgentsCreate) -> JSONResponse:
        self._limit.check()
        answer = self._engine.answer(self._create(body))
        answer.status_code = status.HTTP_201_CREATED
        return answer

    async def get(self, generation_id: str) -> JSONResponse:
        generation = self._engine.world.find(generation_id, "agents")
        if generation is None and self._accept_any_id:
            generation = self._create(AgentsCreate(**AgentsCreate.usual), generation_id)
        if generation is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "Generation not found")
        return self._engine.answer(generation)

    def _create(self, body: AgentsCreate, generation_id: str | None = None) -> Generation:
        model = body.chosen_model()
        return self._engine.create(
            "agents", body.type, model, body.echo(), generation_id=generation_id
        )


class Stamp:
    """Middleware: adds `X-Request-Id` (the caller's, if sent) and the API version to answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = Headers(scope=scope).get("x-request-id") or str(uuid4())

        async def send_stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-API-Version"] = API_VERSION
            await send(message)

        await self._app(scope, receive, send_stamped)


def agents_app(
    engine: Engine,
    files: AgentsFiles,
    *,
    api_keys: Collection[str] | None,
    accept_any_id: bool,
    requests_per_minute: int | None,
    concurrent: int | None,
) -> FastAPI:
    """Return the API as an application to mount at `/agents/v1`."""
    guard = bearer_guard(api_keys, "Invalid API key")
    limit = RequestLimit(requests_per_minute, engine.clock)
    app = FastAPI(dependencies=[Depends(guard), Depends(limit)], openapi_url=None)
    app.add_middleware(Stamp)
    app.add_exception_handler(RequestValidationError, _refuse)
    opened = ConcurrencyLimit(concurrent, engine.world)
    routes = Agents(engine, opened, accept_any_id=accept_any_id)
    app.post("/generations")(routes.create)
    app.get("/generations/{generation_id}")(routes.get)
    add_files(app, files)
    return app


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    """Answer 422 with one string: unlike Dream Machine, this API does not send FastAPI's list."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    first = error.errors()[0]
    detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return JSONResponse({"detail": detail}, status.HTTP_422_UNPROCESSABLE_CONTENT)
