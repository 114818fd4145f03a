"""Rows of the gateway: what Luma's own clients pay for going through the service."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median
from time import perf_counter

from benchmarks.asking import Line, Request, Wrong, ask
from benchmarks.callbacks import Storms, body_of, wrong
from benchmarks.finding import Finding, by_cost, by_rate
from benchmarks.processes import Server
from benchmarks.slices import interleave
from benchmarks.stage import BEARER, CALLBACK, CONNECTIONS, Stage
from service.simulator import Luma, Simulator

_CREATES = 20
"""For each slice that the other rows have."""
_BASE = "/dream-machine/v1/generations"
_NEVER_ASKED = "http://127.0.0.1:9"
_SENDING = {
    "TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8",
    "TRACKER_WEBHOOK_SECRET": "whsec_" + "QUJD" * 11,
}
_JSON = {"Content-Type": "application/json", **BEARER}
_KEY = {"LUMAAI_API_KEY": "luma-key"}


def dump(body: object) -> bytes:
    """A body as JSON."""
    return json.dumps(body).encode()


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


def outbox(stage: Stage) -> Finding:
    """Callbacks that each leave a message for an endpoint, against the same without an endpoint.

    The endpoint never answers, so that the sender takes no part of the load.
    """
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as mute:
        url = "http://{}:{}/hook".format(*mute.getsockname())
        with stage.service("sending", None, **_SENDING) as server:
            ask(server.url, Request("/v1/webhooks", "POST", _JSON, dump({"url": url})), 201)
            ours = Storms(stage, server, CALLBACK, CONNECTIONS, "sent")
            peer = Storms(stage, stage.receiving, CALLBACK, CONNECTIONS, "unsent")
            return by_rate(interleave(ours, peer, stage.times), wrong(ours))


def _completed(server: Server) -> str:
    """Tell the service of a generation, as Luma's callbacks do."""
    body = dump(body_of("polled", "completed"))
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
    body = dump({"model": "ray-2", "prompt": f"a serene lake, {number}"})
    begun = perf_counter()
    answer = line.ask(Request(path, "POST", _JSON, body))
    seconds = perf_counter() - begun
    if answer.status != 201:
        raise Wrong(f"{answer.status} {answer.body[:300]!r}")
    return seconds
