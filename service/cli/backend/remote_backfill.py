"""A backfill of a running service, followed to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from service.cli.backend.contract import Json, Reply
from service.cli.exits import FAILED, REFUSED, UNREACHABLE, CommandError
from service.cli.status import status

_INTERVAL = 1.0  # seconds
_CODES = {"unavailable": UNREACHABLE, "refused": REFUSED}


async def complete(
    post: Callable[[str, Json], Awaitable[Reply]],
    get: Callable[[str], Awaitable[Any]],
    upstream: str | None,
    since: str | None,
    *,
    everything: bool,
) -> Reply:
    """Start a walk, and wait for its end.

    Raises:
        CommandError: the walk failed.
    """
    wanted = {"upstream": upstream, "since": since, "everything": everything}
    shown = await post(
        "/v1/backfill",
        {name: value for name, value in wanted.items() if value not in (None, False)},
    )
    with status("Starting") as say:
        while (walk := shown.document)["state"] == "running":
            say(f"{walk['upstream']}: {walk['seen']} seen, {walk['new']} new")
            await asyncio.sleep(_INTERVAL)
            shown = Reply((await get("/v1/backfill")).content)
    if walk["state"] == "failed":
        raise CommandError(_CODES.get(walk["failure"], FAILED), walk["error"] or "It failed.")
    return shown
