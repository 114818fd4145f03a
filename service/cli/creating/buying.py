"""Sends an order, and finds out what it created if Luma's answer is lost. Never buys twice."""

import asyncio
from http import HTTPStatus

from service.cli.backend.contract import Backend, Created, Order
from service.cli.exits import REFUSED, UNREACHABLE, CommandError
from service.domain.detail import detail_in
from service.domain.submission import created_id
from service.domain.upstreams import KEY_SETTING
from service.errors import TrackerError

_SEARCH_FOR = 20.0  # seconds; the tracker finds what there is within 15
_PAUSE = 1.0  # seconds
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


async def buy(backend: Backend, order: Order) -> tuple[str, bool]:
    """Create a generation.

    Returns:
        Its id, and whether it was bought before with the same key.

    Raises:
        CommandError: nothing was created, or it is not known whether.
    """
    created = await backend.create(order)
    lost = created.status == HTTPStatus.GATEWAY_TIMEOUT
    if not lost and created.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _refusal(created, order)
    made = None if lost else created_id(created.body)
    return made or await _found(backend, created, order), created.is_repeated


async def _found(backend: Backend, created: Created, order: Order) -> str:
    """Wait until the tracker has found a create whose answer was lost, in Luma's list."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _SEARCH_FOR
    while created.submission_id and clock() < deadline:
        try:
            if made := await backend.created_by(created.submission_id):
                return made
        except TrackerError:  # the key keeps what is known
            pass
        await asyncio.sleep(_PAUSE)
    raise _lost(order)


def _lost(order: Order) -> CommandError:
    return CommandError(
        UNREACHABLE,
        f"The answer of {order.upstream} was lost; it may have created and charged it.",
        f"Run the same command with --idempotency-key {order.key}: it buys nothing again, and "
        "shows what was created as soon as that is known.",
    )


def _refusal(created: Created, order: Order) -> CommandError:
    status, detail = created.status, detail_in(created.body).rstrip(".")
    passing = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    message = f"{order.upstream}: {detail or 'no reason given'} ({status})."
    return CommandError(UNREACHABLE if passing else REFUSED, message, _hint(status, order))


def _hint(status: int, order: Order) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Check TRACKER_TOKEN, and {KEY_SETTING[order.upstream]} where the tracker runs."
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return "Add credits to the Luma account."
    if status == HTTPStatus.NOT_FOUND:
        return "Check --generation."
    if status == HTTPStatus.SERVICE_UNAVAILABLE or status in _PASSING:
        return "Try again later."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Look with `luma-tracker list` before you try again: Luma may have created it."
    return "Nothing was created. Correct the options."
