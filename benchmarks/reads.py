"""Rows of lookups and lists."""

import os
from functools import partial
from pathlib import Path

from benchmarks.asking import Request, Wrong, ask
from benchmarks.finding import Finding, by_cpu, by_rate
from benchmarks.processes import NotStarted, Server
from benchmarks.slices import interleave
from benchmarks.stage import BEARER, Skipped, Stage
from benchmarks.stored import ids_in
from benchmarks.storm import Each
from service.config import Settings

_CACHED = 100_000
_CACHED_QUICK = 5_000
_SETTLE = 2_000  # lookups after which a server has what it needs besides its cache
_LONGEST = 120.0  # seconds for reading them all


def cached(stage: Stage) -> Finding:
    """A lookup that is in memory, against the same bytes."""
    return _against_raw(stage, stage.ours, stage.reading)


def unchanged(stage: Stage) -> Finding:
    """A lookup by somebody who has the answer already."""
    headers = {**BEARER, "If-None-Match": stage.shown.header("etag")}
    request = Request(stage.reading.path, headers=headers)
    ask(stage.ours.url, request, 304)
    return _against_raw(stage, stage.ours, request)


def uncached(stage: Stage) -> Finding:
    """A lookup that is read from the database."""
    return _against_raw(stage, stage.uncached, stage.reading)


def _against_raw(stage: Stage, server: Server, request: Request) -> Finding:
    load = stage.hammer(server, request)
    return by_cpu(interleave(load, stage.hammer(stage.raw, request), stage.times))


def cached_naive(stage: Stage) -> Finding:
    """A lookup that is in memory, against the naive app's."""
    peer = Request(f"/generations/{stage.generation_id}")
    return _against_naive(stage, stage.reading, peer)


def newest(stage: Stage) -> Finding:
    """The newest page of 20."""
    ours = Request("/v1/generations?limit=20", headers=BEARER)
    return _against_naive(stage, ours, Request("/generations?limit=20"))


def _against_naive(stage: Stage, ours: Request, peer: Request) -> Finding:
    for server, request in ((stage.ours, ours), (stage.naive, peer)):
        ask(server.url, request)
    slow = stage.hammer(stage.naive, peer, slow=True)
    return by_cpu(interleave(stage.hammer(stage.ours, ours), slow, stage.times))


_DIRECT = {"TRACKER_CACHE_SIZE": "0"}
"""As several workers on one file read anyway."""


def workers(stage: Stage) -> Finding:
    """Two workers' lookups, against one worker's."""
    try:
        with (
            stage.service("two", stage.filled, "--workers", "2", **_DIRECT) as two,
            stage.service("one", stage.filled, "--workers", "1", **_DIRECT) as one,
        ):
            load = partial(stage.hammer, request=stage.reading)
            compared = interleave(load(two), load(one), stage.times)
    except NotStarted as error:
        if "--workers" not in str(error):
            raise
        raise Skipped("this `serve` has no --workers") from error
    found = by_rate(compared)
    if (os.cpu_count() or 1) > 3 or compared.by_cost is None:
        return found
    # The load wants a core of its own: what two workers could answer, were there one.
    other = f"{found.figure:.2f} × by rate, with the load on the same cores"
    return Finding(2 * compared.by_cost, found.ours, found.peer, other)


def memory(stage: Stage) -> Finding:
    """What the read cache takes when it is full."""
    if "cache_size" not in Settings.model_fields:
        raise Skipped("there is no TRACKER_CACHE_SIZE")
    count = _CACHED_QUICK if stage.quick else _CACHED
    database = stage.database(count)
    full, empty = (_grown(stage, database, count, size) for size in (count, 0))
    scale = _CACHED / count
    note = f"of {count:,} generations" + (f", times {scale:g}" if scale != 1 else "")
    megabytes = [grown / 1e6 for grown in (full, empty)]
    return Finding(
        (megabytes[0] - megabytes[1]) * scale,
        f"{megabytes[0]:,.0f} MB",
        f"{megabytes[1]:,.0f} MB",
        note,
    )


def _grown(stage: Stage, database: Path, count: int, cache_size: int) -> float:
    """By how many bytes a service grows while it answers a lookup of each generation."""
    settings = {"TRACKER_CACHE_SIZE": str(cache_size)}
    paths = [f"/v1/generations/{id_}" for id_ in ids_in(database)]
    with stage.service(f"cache-{cache_size}", database, **settings) as server:
        stage.blow(Each(server.url, 8, _LONGEST, paths[:1] * _SETTLE, BEARER))
        before = server.memory()
        outcome = stage.blow(Each(server.url, 8, _LONGEST, paths, BEARER))
        after = server.memory()
    if before is None or after is None:
        raise Skipped("nobody tells the memory of a process here")
    if outcome.statuses[200] != count:
        raise Wrong(f"{count} lookups, answered {dict(outcome.statuses)}")
    return after - before
