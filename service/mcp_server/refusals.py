"""What Luma refused, as errors that say what to do next."""

from http import HTTPStatus

from service.domain.detail import detail_in
from service.domain.upstreams import KEY_SETTING
from service.errors import TrackerError, UpstreamError
from service.tracking.creating.request import CreateRequest

_DEFAULT_PAUSE = 10  # seconds


def refusal(upstream: str, status: int, body: bytes, retry_after: str | None) -> UpstreamError:
    """Return the error for a refusal of Luma's.

    Args:
        upstream: the API.
        status: of its answer.
        body: of its answer.
        retry_after: the header, in seconds.
    """
    detail = detail_in(body)
    message = f"{upstream} answered {status}{': ' if detail else ''}{detail.rstrip('.')}."
    return UpstreamError(upstream, message, _hint(upstream, status, retry_after))


def not_sent(upstream: str, body: bytes, retry_after: str) -> UpstreamError:
    """Return the error for a create of which no byte was sent.

    Args:
        upstream: the API.
        body: of our own answer.
        retry_after: the header, in seconds.
    """
    hint = f"Nothing was charged. Wait {retry_after} s, then repeat this call."
    return UpstreamError(upstream, detail_in(body), hint)


def lost(create: CreateRequest) -> UpstreamError:
    """Return the error for a create whose answer was lost."""
    message = f"The answer of {create.upstream} was lost; it may have created and charged it."
    repeat = " or repeat this call with the same idempotency_key," if create.key else ""
    hint = (
        f"Do not create it again. In a minute, call list_generations to look for it,{repeat} and "
        "if it is not there, ask the user before you create it again."
    )
    return UpstreamError(create.upstream, message, hint)


def _hint(upstream: str, status: int, retry_after: str | None) -> str:
    key = KEY_SETTING[upstream]
    pause = retry_after if retry_after and retry_after.isdigit() else _DEFAULT_PAUSE
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Do not retry: someone has to check {key} where the tracker runs."
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return "Do not retry: someone has to add credits to the Luma account."
    if status == HTTPStatus.NOT_FOUND:
        return "Check the id; list_generations shows those that are known."
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"Nothing was charged. Wait {pause} s, then repeat this call."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"Wait {pause} s and check with list_generations before you repeat this call."
    return "Nothing was charged. Correct the arguments."


class ReadOnly(TrackerError):
    """A tool that writes was called by a client that may only read."""

    hint = (
        "Do not retry. Tell the user: it needs TRACKER_MCP_READ_ONLY=false where the tracker runs, "
        "and a token without `ro:`."
    )

    def __init__(self) -> None:
        super().__init__("This client may only read, so nothing was sent to Luma.")
