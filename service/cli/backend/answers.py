"""The answers of a running service: their bodies, and their errors as exit codes."""

import json
from typing import Any

import httpx

from service.cli.exits import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, USAGE, CommandError
from service.errors import InvalidQuery, TrackerError

_CODES = {400: USAGE, 404: NOT_FOUND, 422: USAGE, 429: UNREACHABLE, 502: REFUSED, 503: UNREACHABLE}
_KINDS = {"store-unavailable": FAILED, "too-many-requests": REFUSED, "not-found": NOT_FOUND}
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
"""Errors of a request of which no byte was sent."""
_OURS = "urn:luma-tracker"
_TOKEN = "Set TRACKER_TOKEN to a token that the service has in its TRACKER_API_TOKENS."  # noqa: S105
_HINTS = {
    401: _TOKEN,
    403: "Set TRACKER_TOKEN to a token without `ro:`: this one may only read.",
    429: "Too many wrong tokens, or too many requests: wait a minute, then check TRACKER_TOKEN.",
}


def error_in(answer: httpx.Response) -> TrackerError:
    """Return the error that a service answered, or something else in its place."""
    status, problem = answer.status_code, object_in(answer.content)
    source, _, kind = str(problem.get("type", "")).rpartition(":")
    if source != _OURS:
        return _foreign(answer)
    if place := _place(problem, answer.request):
        return InvalidQuery(*place)
    code = _KINDS.get(kind, _CODES.get(status, FAILED if answer.is_server_error else REFUSED))
    hint = _HINTS.get(status) or str(problem.get("hint") or "")
    detail = str(problem["detail"])
    return CommandError(code, detail if detail.endswith((".", "`")) else f"{detail}.", hint)


def _place(problem: dict[str, Any], request: httpx.Request) -> tuple[str, int, str] | None:
    """Return the query of a request, where it is wrong, and why; None: it is not that."""
    for wrong in problem.get("errors") or ():
        if "at" in wrong:
            query = request.url.params.get("q") or object_in(request.content).get("q")
            return query or "", wrong["at"], wrong["msg"]
    return None


def _foreign(answer: httpx.Response) -> CommandError:
    """Return the error for an answer that no tracker gives."""
    url, status = answer.request.url.copy_with(query=None), answer.status_code
    code = UNREACHABLE if answer.is_server_error else REFUSED
    return CommandError(
        code,
        f"{url} answered {status}, and not as luma-tracker does.",
        "Check TRACKER_URL, and what stands between here and the service.",
    )


class CutOff(CommandError):
    """The connection to the service broke after a request was sent."""


def unreachable(url: str, error: httpx.HTTPError) -> CommandError:
    """Return the error for a service that does not answer."""
    reason = str(error) or type(error).__name__
    kind = CommandError if isinstance(error, NOT_SENT) else CutOff
    return kind(
        UNREACHABLE,
        f"{url} cannot be reached: {reason}.",
        "Check TRACKER_URL and that the service runs; without TRACKER_URL, the command works on "
        "the database itself.",
    )


def cut_off(url: str, error: httpx.HTTPError, key: str) -> TrackerError:
    """Return the error for a create whose answer a service did not send."""
    return CommandError(
        UNREACHABLE,
        f"{url} did not answer the create: {type(error).__name__}. It may have been sent to Luma.",
        f"Run the same command with --idempotency-key {key}: it buys nothing again.",
    )


def object_in(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one if it is none."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
