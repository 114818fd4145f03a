"""Recognizes a call of `wait_for_generation` before it is dispatched."""

from dataclasses import dataclass
from typing import Any

import pydantic_core
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from starlette.types import Scope

from service.mcp_server.reading import WAIT

_NAME = WAIT.encode()
_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that waits for a generation."""

    wants_progress: bool
    """Whether the client asked for progress notifications."""


def wait_in(body: bytes) -> Wait | None:
    """Return the wait that a body requests; None for any other request."""
    if _NAME not in body:
        return None
    try:
        request = pydantic_core.from_json(body)
    except ValueError:
        return None
    return wait_of(request)


def wait_of(request: Any) -> Wait | None:
    """Return the same for a parsed body."""
    params = request.get("params") if isinstance(request, dict) else None
    if not isinstance(params, dict) or params.get("name") != WAIT:
        return None
    return Wait(progress_token_from_params(params) is not None)


def accepts_stream(scope: Scope) -> bool:
    """Return whether the client takes a stream of events as the response."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    kinds = accepted.decode("latin-1").lower().split(",")
    return any(kind.partition(";")[0].strip() in (_STREAM, "*/*", "text/*") for kind in kinds)
