"""Rows of lookups and lists."""

import os
from functools import partial

from benchmarks.asking import Request, Wrong, ask
from benchmarks.finding import Finding, by_cpu, by_rate
from benchmarks.processes import NotStarted, Server
from benchmarks.slices import Comparison, interleave
from benchmarks.stage import BEARER, COMPLETED, SLOW, Skipped, Stage, first_id
from benchmarks.stored import ids_in
from benchmarks.storm import Each
from service.config import Settings

_CACHED = 100_000
_CACHED_QUICK = 5_000
_SETTLE = 2_000  # lookups after which a server has what it needs besides its cache
_LONGEST = 120.0  # seconds for reading them all
PAGE = Request("/v1/generations?limit=20", headers=BEARER)
NAIVE_PAGE = Request("/generations?limit=20")


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
    return by_cpu(_against(stage, (stage.ours, stage.reading), (stage.naive, peer)))


def newest(stage: Stage) -> Finding:
    """The newest page of 20."""
    return by_cpu(_against(stage, (stage.ours, PAGE), (stage.naive, NAIVE_PAGE)))


def uncached_page_on_postgres(stage: Stage) -> Finding:
    """The newest page of 20, from PostgreSQL."""
    ours, naive = stage.uncached_on_postgres, stage.naive_on_postgres
    return by_rate(_against(stage, (ours, PAGE), (naive, NAIVE_PAGE)))


def uncached_on_postgres(stage: Stage) -> Finding:
    """A lookup that is read from PostgreSQL."""
    ours, naive = stage.uncached_on_postgres, stage.naive_on_postgres
    path = f"/generations/{_first_completed(ours)}"
    asked = Request(f"/v1{path}", headers=BEARER)
    return by_rate(_against(stage, (ours, asked), (naive, Request(path))))


def _first_completed(server: Server) -> str:
    return first_id(ask(server.url, Request(COMPLETED, headers=BEARER)))


def _against(
    stage: Stage, ours: tuple[Server, Request], naive: tuple[Server, Request]
) -> Comparison:
    for server, request in (ours, naive):
        ask(server.url, request)
    return interleave(stage.hammer(*ours), stage.hammer(*naive, longer=SLOW), stage.times)


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


def _grown(stage: Stage, database: str, count: int, cache_size: int) -> float:
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
