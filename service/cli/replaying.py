"""Which deliveries `replay` folds again, and the folding."""

import sys
from collections.abc import Awaitable, Callable, Sequence

import typer

from service.cli.backend.contract import Backend, Filters, Json, Reply
from service.errors import InvalidInput

MOST = 1000
"""Deliveries at once."""
_PAGE = 200
_AT_ONCE = 100  # generations in one filter


async def select(
    backend: Backend, outcomes: Sequence[str] | None, query: str | None, *, ask: bool
) -> list[str]:
    """Return the ids of the deliveries to fold again, oldest first.

    Args:
        backend: where they are.
        outcomes: only those with one of these; None and no query: those that are not folded.
        query: only those of the generations that it finds.
        ask: whether to count them and ask, if anything narrows them.

    Raises:
        InvalidInput: it would have to ask, but nobody is at a terminal.
    """
    if outcomes is None and query is None:
        return await _found(backend, {"outcome": ["kept"]})
    ids = await _selected(backend, outcomes, query)
    if ask and ids:
        _confirm(len(ids))
    return ids


async def _selected(
    backend: Backend, outcomes: Sequence[str] | None, query: str | None
) -> list[str]:
    filters: Filters = {"outcome": outcomes}
    if query is None:
        return await _found(backend, filters)
    generations, ids = await _generations(backend, query), list[str]()
    for start in range(0, len(generations), _AT_ONCE):
        some = {**filters, "generation_id": generations[start : start + _AT_ONCE]}
        ids += await _found(backend, some, MOST - len(ids))
    return sorted(ids)


async def _found(backend: Backend, filters: Filters, most: int = MOST) -> list[str]:
    """Return the ids of the newest deliveries, oldest first."""
    return sorted(await _ids(backend.deliveries, filters, most))


async def _generations(backend: Backend, query: str) -> list[str]:
    """Return the ids of the newest generations that a query finds."""
    return await _ids(backend.generations, {"q": query}, MOST)


async def _ids(
    page_of: Callable[[Filters], Awaitable[Reply]], filters: Filters, most: int
) -> list[str]:
    ids: list[str] = []
    cursor = None
    while len(ids) < most:
        page = await page_of({**filters, "limit": _PAGE, "cursor": cursor})
        ids += [item["id"] for item in page.items]
        cursor = page.document["next_cursor"]
        if cursor is None:
            break
    return ids[:most]


def _confirm(count: int) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            "yes",
            f"{count} deliveries would be replayed.",
            "Pass --yes to do it without a question.",
        )
    found = f"{count} deliveries" if count < MOST else f"the newest {MOST} deliveries"
    if not typer.confirm(f"Replay {found}?", err=True):
        raise typer.Abort


async def replay_each(backend: Backend, ids: Sequence[str]) -> list[Json]:
    """Fold deliveries again, one after the other."""
    return [(await backend.replay(delivery_id)).document for delivery_id in ids]
