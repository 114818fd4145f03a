"""Dream Machine v1: every route of Luma's specification, and two older ones still in use."""

from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Response, status
from fastapi.responses import JSONResponse

from service.simulator.auth import bearer_guard
from service.simulator.concepts import CAMERA_MOTIONS, CONCEPTS
from service.simulator.creates import (
    AudioCreate,
    Create,
    ImageCreate,
    ModifyVideoCreate,
    ReframeImageCreate,
    ReframeVideoCreate,
    UpscaleCreate,
    VideoCreate,
)
from service.simulator.engine import Engine
from service.simulator.world import Generation

CREDIT_BALANCE = 250_000.0
"""Credits of the account, in US cents; generations cost nothing."""
PROMPT_MIN, PROMPT_MAX = 3, 5000
"""Characters."""


class DreamMachine:
    """The routes' functions."""

    def __init__(self, engine: Engine, *, accept_any_id: bool, list_limit_cap: int) -> None:
        self._engine = engine
        self._accept_any_id = accept_any_id
        self._list_limit_cap = list_limit_cap

    async def ping(self) -> dict[str, str]:
        return {"message": "pong"}

    async def credits(self) -> dict[str, float]:
        return {"credit_balance": CREDIT_BALANCE}

    async def concepts(self) -> list[str]:
        return list(CONCEPTS)

    async def camera_motions(self) -> list[str]:
        return list(CAMERA_MOTIONS)

    async def create_video(self, body: VideoCreate) -> JSONResponse:
        _check_prompt(body.prompt)
        return self._answer_created(self._create(body, body.generation_type, body.model))

    async def create_image(self, body: ImageCreate) -> JSONResponse:
        _check_prompt(body.prompt)
        generation = self._create(body, body.generation_type, body.model)
        if body.sync:
            self._engine.fast_forward(generation, body.sync_timeout)
        return self._answer_created(generation)

    async def reframe_image(self, body: ReframeImageCreate) -> JSONResponse:
        return self._answer_created(self._create(body, body.generation_type, body.model))

    async def reframe_video(self, body: ReframeVideoCreate) -> JSONResponse:
        return self._answer_created(self._create(body, body.generation_type, body.model))

    async def modify_video(self, body: ModifyVideoCreate) -> JSONResponse:
        _check_prompt(body.prompt)
        return self._answer_created(self._create(body, body.generation_type, body.model))

    async def upscale(self, generation_id: str, body: UpscaleCreate) -> JSONResponse:
        parent = self._find(generation_id)
        return self._engine.answer(self._create(body, body.generation_type, parent.model))

    async def add_audio(self, generation_id: str, body: AudioCreate) -> JSONResponse:
        parent = self._find(generation_id)
        return self._engine.answer(self._create(body, body.generation_type, parent.model))

    async def get(self, generation_id: str) -> JSONResponse:
        return self._engine.answer(self._find(generation_id))

    async def delete(self, generation_id: str) -> Response:
        self._engine.world.remove(self._find(generation_id))
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    async def list_newest(
        self,
        limit: Annotated[int, Query(ge=0)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> JSONResponse:
        limit = min(limit, self._list_limit_cap)
        generations = self._engine.world.newest("dream_machine")
        page = generations[offset : offset + limit]
        body = {
            "generations": [self._engine.body(each) for each in page],
            "has_more": offset + limit < len(generations),
            "count": len(page),
            "limit": limit,
            "offset": offset,
        }
        return JSONResponse(body)

    def _create(self, body: Create, operation: str, model: str) -> Generation:
        return self._engine.create("dream_machine", operation, model, body.echo())

    def _answer_created(self, generation: Generation) -> JSONResponse:
        answer = self._engine.answer(generation)
        answer.status_code = status.HTTP_201_CREATED
        return answer

    def _find(self, generation_id: str) -> Generation:
        generation = self._engine.world.find(generation_id, "dream_machine")
        if generation is None and self._accept_any_id:
            body = VideoCreate(**VideoCreate.usual)
            generation = self._engine.create(
                "dream_machine", "video", body.model, body.echo(), generation_id=generation_id
            )
        if generation is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "Generation not found")
        return generation


def dream_machine_app(
    engine: Engine,
    *,
    api_keys: Collection[str] | None,
    accept_any_id: bool,
    list_limit_cap: int,
) -> FastAPI:
    """Return the API as an application to mount at `/dream-machine/v1`."""
    guard = bearer_guard(api_keys, "Invalid API key is provided")
    app = FastAPI(dependencies=[Depends(guard)], openapi_url=None)
    routes = DreamMachine(engine, accept_any_id=accept_any_id, list_limit_cap=list_limit_cap)
    app.get("/ping")(routes.ping)
    app.get("/credits")(routes.credits)
    app.get("/generations")(routes.list_newest)
    app.get("/generations/concepts/list")(routes.concepts)
    app.get("/generations/camera_motion/list")(routes.camera_motions)
    app.get("/generations/{generation_id}")(routes.get)
    app.delete("/generations/{generation_id}")(routes.delete)
    app.post("/generations")(routes.create_video)  # Luma's documentation still shows this route
    app.post("/generations/video")(routes.create_video)
    app.post("/generations/video/reframe")(routes.reframe_video)
    app.post("/generations/video/modify")(routes.modify_video)
    app.post("/generations/image")(routes.create_image)
    app.post("/generations/image/reframe")(routes.reframe_image)
    app.post("/generations/{generation_id}/upscale")(routes.upscale)
    app.post("/generations/{generation_id}/audio")(routes.add_audio)
    return app


def _check_prompt(prompt: str | None) -> None:
    """Check the length; Luma answers 400 with these words, not FastAPI's 422."""
    if prompt is None:
        return
    if len(prompt) < PROMPT_MIN:
        refusal = f"Prompt is too short, minimum length is {PROMPT_MIN} characters"
    elif len(prompt) > PROMPT_MAX:
        refusal = f"Prompt is too long, maximum length is {PROMPT_MAX} characters"
    else:
        return
    raise HTTPException(status.HTTP_400_BAD_REQUEST, refusal)
