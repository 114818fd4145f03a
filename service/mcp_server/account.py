"""The tools that pass a request on to Dream Machine: ping, credits, camera motions, delete."""

import json
from http import HTTPStatus
from typing import Any

from service.domain.upstreams import DREAM_MACHINE
from service.errors import InvalidInput, UpstreamNonsense
from service.mcp_server.arguments import Arguments, GenerationId
from service.mcp_server.refusals import refusal
from service.mcp_server.tool import DELETES, READS, Call, Json, TrackerTool, define, success
from service.tracking.gateway import Outgoing

_HEADERS = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
_PATIENCE = 10.0  # seconds
_LARGEST_ANSWER = 1_048_576  # bytes
_CENTS = 100  # per US dollar


class NoArguments(Arguments):
    """Arguments of tools that have none."""


class DeleteGeneration(Arguments):
    """Arguments of `delete_generation`."""

    generation_id: GenerationId


async def _ping(call: Call) -> Json:
    NoArguments.model_validate(call.arguments)
    await _ask(call, "GET", "ping")
    text = "Luma API is available and responding"
    return success(text, {"message": text})


async def _credits(call: Call) -> Json:
    NoArguments.model_validate(call.arguments)
    found = _parsed(await _ask(call, "GET", "credits"))
    cents = found.get("credit_balance") if isinstance(found, dict) else None
    if not isinstance(cents, int | float):
        raise UpstreamNonsense(DREAM_MACHINE, "dream_machine answered no credit_balance.")
    dollars = round(cents / _CENTS, 2)
    text = f"Credit Information:\nAvailable Credits: {cents} US cents (${dollars:,.2f})"
    return success(text, {"credit_balance": cents, "credit_balance_usd": dollars})


async def _camera_motions(call: Call) -> Json:
    NoArguments.model_validate(call.arguments)
    found = _parsed(await _ask(call, "GET", "generations/concepts/list"))
    if not isinstance(found, list):
        raise UpstreamNonsense(DREAM_MACHINE, "dream_machine answered no list of concepts.")
    names = [name for name in found if isinstance(name, str)]
    text = (
        f"Available camera motions:\n{', '.join(names)}\n"
        'Pass them to create_generation as concepts: [{"key": "orbit_left"}].'
    )
    return success(text, {"camera_motions": names})


async def _delete(call: Call) -> Json:
    generation_id = DeleteGeneration.model_validate(call.arguments).generation_id
    stored = await call.tracker.lookup_stored(generation_id)
    if stored and stored.representation.upstream != DREAM_MACHINE:
        raise InvalidInput(
            "generation_id",
            "It belongs to the Agents API, which cannot delete generations.",
            "Nothing can be done: its URLs expire within an hour anyway.",
        )
    text = f"Generation {generation_id} deleted successfully"
    if stored and stored.representation.is_gone:
        text = f"Generation {generation_id} had been deleted before"
    else:
        await _ask(call, "DELETE", f"generations/{generation_id}")
        await call.gateway.record_deleted(DREAM_MACHINE, generation_id)
    return success(text, {"id": generation_id, "deleted": True})


async def _ask(call: Call, method: str, target: str) -> bytes:
    """Send a request to Dream Machine, and return the body of its answer.

    Raises:
        UpstreamError: there is no API key, no answer, or a refusal.
    """
    call.gateway.require_key(DREAM_MACHINE)
    incoming = await call.gateway.send(
        DREAM_MACHINE, Outgoing(method, target, _HEADERS, total=_PATIENCE)
    )
    try:
        body = await incoming.read(_LARGEST_ANSWER)
    except ValueError as error:
        raise UpstreamNonsense(DREAM_MACHINE, f"dream_machine: {error}.") from error
    if incoming.status >= HTTPStatus.MULTIPLE_CHOICES:
        retry_after = dict(incoming.headers).get(b"retry-after", b"").decode("latin-1")
        raise refusal(DREAM_MACHINE, incoming.status, body, retry_after)
    return body


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamNonsense(DREAM_MACHINE, "dream_machine answered no JSON.") from error


TOOLS = [
    TrackerTool(
        define(
            "delete_generation",
            "Delete a Luma generation",
            "Deletes a generation at Luma for good, with its video or image (Dream Machine models "
            "only). Refunds nothing. What the tracker knows of it stays readable.",
            DeleteGeneration,
            DELETES,
        ),
        _delete,
        "deleting generation {generation_id}",
    ),
    TrackerTool(
        define(
            "ping",
            "Ping Luma",
            "Checks that Luma's Dream Machine API answers and accepts the key. Free.",
            NoArguments,
            READS,
        ),
        _ping,
        "pinging Luma API",
    ),
    TrackerTool(
        define(
            "get_credits",
            "Get the Luma credits",
            "Returns the balance of the Dream Machine account, in US cents and dollars. Free.",
            NoArguments,
            READS,
        ),
        _credits,
        "retrieving credit information",
    ),
    TrackerTool(
        define(
            "get_camera_motions",
            "Get Luma's camera motions",
            "Lists the camera motions (concepts) that ray-2 videos can have. Free.",
            NoArguments,
            READS,
        ),
        _camera_motions,
        "retrieving camera motions",
    ),
]
