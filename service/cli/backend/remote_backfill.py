"""A backfill of a running service, followed to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console

from service.cli.backend.contract import Json, Reply
from service.cli.exits import FAILED, REFUSED, UNREACHABLE, CommandError

_INTERVAL = 1.0  # seconds
_EVER = "1970-01-01"
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
    wanted = {"upstream": upstream, "since": _EVER if everything and since is None else since}
    shown = await post("/v1/backfill", {k: v for k, v in wanted.items() if v is not None})
    with Console(stderr=True).status("Starting") as status:
        while (walk := shown.document)["state"] == "running":
            status.update(f"{walk['upstream']}: {walk['seen']} seen, {walk['new']} new")
            await asyncio.sleep(_INTERVAL)
            shown = Reply((await get("/v1/backfill")).content)
    if walk["state"] == "failed":
        raise CommandError(_CODES.get(walk["failure"], FAILED), walk["error"] or "It failed.")
    return shown
