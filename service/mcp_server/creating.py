"""What the tools that create have in common: the way of the gateway's creates, and their answer."""

import json
from http import HTTPStatus
from typing import NamedTuple

from service.domain.submission import created_id
from service.errors import InvalidInput, NotFound, StoreUnavailable
from service.mcp_server.describing import lines, next_step
from service.mcp_server.refusals import lost, not_sent, refusal
from service.mcp_server.tool import Call, Json, success
from service.tracking.creating.refused import KeyReused
from service.tracking.gateway import CreateAnswer, CreateRequest


class Wanted(NamedTuple):
    """A generation to create."""

    upstream: str
    path: str
    """Below the base URL: `generations/video`."""
    body: Json
    idempotency_key: str | None


async def create(call: Call, wanted: Wanted) -> Json:
    """Create a generation, and return the result of the tool.

    Raises:
        TrackerError: nothing was created, or it is not known whether.
    """
    upstream, path, body, key = wanted
    caller = call.caller.digest
    request = CreateRequest.of_json(upstream, path, json.dumps(body).encode(), key, caller)
    try:
        answer, is_first = await call.gateway.create(request)
    except KeyReused as error:
        raise InvalidInput(
            "idempotency_key",
            "This idempotency_key was used for another create within the last 24 hours.",
            "Send a new key, or the same arguments as before.",
        ) from error
    return await _result(call, _created(request, answer), is_first=is_first)


def _created(request: CreateRequest, answer: CreateAnswer) -> str:
    """Return the id of the generation that was created.

    Raises:
        UpstreamError: Luma refused the create, or its answer was lost.
    """
    retry_after = dict(answer.headers).get(b"retry-after", b"").decode("latin-1")
    if not answer.was_sent:
        raise not_sent(request.upstream, answer.body, retry_after)
    if answer.is_final and answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise refusal(request.upstream, answer.status, answer.body, retry_after)
    id_ = created_id(answer.body)
    if id_ is None:
        raise lost(request)
    return id_


async def _result(call: Call, generation_id: str, *, is_first: bool) -> Json:
    """Describe what was created; it is stored already."""
    try:
        answer = await call.tracker.lookup(generation_id)
    except (NotFound, StoreUnavailable):  # it is created and paid all the same
        step = f"Call wait_for_generation with generation_id {generation_id}."
        document = {"id": generation_id, "state": "unknown", "terminal": False, "next_step": step}
        return success(f"Generation ID: {generation_id}\nState: unknown\n{step}", document)
    generation = answer.representation.document()
    step = next_step(generation)
    if not is_first:
        step = f"This idempotency_key has created it before; nothing was charged again. {step}"
    text = [*lines(generation, answer.age), step]
    return success("\n".join(text), {**generation, "next_step": step})
