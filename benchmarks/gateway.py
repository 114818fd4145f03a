"""Rows of the gateway: what Luma's own clients pay for going through the service."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

from benchmarks.asking import Line, Request, Wrong, ask
from benchmarks.callbacks import body_of
from benchmarks.finding import Finding, by_cost
from benchmarks.processes import Server
from benchmarks.slices import interleave
from benchmarks.stage import BEARER, CALLBACK, Stage
from service.simulator import Luma, Simulator

_CREATES = 20
"""For each slice that the other rows have."""
_BASE = "/dream-machine/v1/generations"
_NEVER_ASKED = "http://127.0.0.1:9"
_KEY = {"LUMAAI_API_KEY": "luma-key"}


def lookup(stage: Stage) -> Finding:
    """A polling program's GET, against the lookup of `/v1`."""
    settings = {**_KEY, "TRACKER_DREAM_MACHINE_URL": _NEVER_ASKED}
    with stage.service("polled", None, **settings) as server:
        generation_id = _completed(server)
        polled = Request(f"{_BASE}/{generation_id}", headers=BEARER)
        looked_up = Request(f"/v1/generations/{generation_id}", headers=BEARER)
        for request in (polled, looked_up):
            ask(server.url, request)
        return by_cost(
            interleave(stage.hammer(server, polled), stage.hammer(server, looked_up), stage.times)
        )


def _completed(server: Server) -> str:
    """Tell the service of a generation, as Luma's callbacks do."""
    body = json.dumps(body_of("polled", "completed")).encode()
    ask(server.url, Request(CALLBACK, "POST", {}, body))
    return "polled"


def create(stage: Stage) -> Finding:
    """A create through the service, against the same create at Luma's stand-in."""
    with Simulator().running() as luma, _passing(stage, luma) as ours:
        through, straight = list[float](), list[float]()
        with Line(ours.url) as line, Line(luma.dream_machine_url) as direct:
            for number in range(_CREATES * stage.times):
                through.append(_seconds(line, f"{_BASE}/video", number))
                straight.append(_seconds(direct, f"{_BASE}/video", number))
    added = [a - b for a, b in zip(through, straight, strict=True)]
    shown = (f"{median(seconds) * 1000:,.2f} ms" for seconds in (through, straight))
    return Finding(median(added) * 1000, *shown)


@contextmanager
def _passing(stage: Stage, luma: Luma) -> Iterator[Server]:
    settings = {
        **_KEY,
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
        "TRACKER_DREAM_MACHINE_RATE": "10000/second",
    }
    with stage.service("passing", None, **settings) as server:
        yield server


def _seconds(line: Line, path: str, number: int) -> float:
    """How long one create takes."""
    body = json.dumps({"model": "ray-2", "prompt": f"a serene lake, {number}"}).encode()
    headers = {"Content-Type": "application/json", **BEARER}
    begun = perf_counter()
    answer = line.ask(Request(path, "POST", headers, body))
    seconds = perf_counter() - begun
    if answer.status != 201:
        raise Wrong(f"{answer.status} {answer.body[:300]!r}")
    return seconds
