"""Rows of pages: what a browser without a cache loads, and how long the service takes for it."""

import re
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from benchmarks.asking import Line, Request, Wrong
from benchmarks.finding import Finding
from benchmarks.processes import Server
from benchmarks.stage import BEARER, Stage

_PAGES = ("/", "/?view=table", "/deliveries", "/webhooks", "/stats")
_HTML = {"Accept": "text/html", "Accept-Encoding": "gzip", **BEARER}
_LINKED = re.compile(rb'(?:src|href)="(/static/[^"]+)"')
_PLAIN = {"Accept": "text/html", **BEARER}
_ASKED = 9  # times


@dataclass(frozen=True, slots=True)
class Load:
    """The first load of a page: compressed bytes and requests, and milliseconds for its HTML."""

    path: str
    size: int
    requests: int
    milliseconds: float

    def __str__(self) -> str:
        kilobytes = f"{self.size / 1000:.0f} kB"
        return f"{self.path} {kilobytes}, {self.requests} requests, {self.milliseconds:.1f} ms"


def first_load(stage: Stage) -> Finding:
    """The heaviest of the pages, over a thousand generations."""
    loads = [_load(stage.ours, path) for path in _PAGES]
    heaviest = max(loads, key=lambda load: load.size)
    return Finding(heaviest.size / 1000, str(heaviest), "", "; ".join(map(str, loads)))


def _load(server: Server, path: str) -> Load:
    with Line(server.url) as line:
        linked = {*_LINKED.findall(_body(line, path, _PLAIN))}
        times = [_seconds(line, path) for _ in range(_ASKED)]
        sizes = [len(_body(line, each.decode(), _HTML)) for each in linked]
        size = len(_body(line, path, _HTML)) + sum(sizes)
    return Load(path, size, 1 + len(linked), median(times) * 1000)


def _seconds(line: Line, path: str) -> float:
    begun = perf_counter()
    _body(line, path, _HTML)
    return perf_counter() - begun


def _body(line: Line, path: str, headers: dict[str, str]) -> bytes:
    answer = line.ask(Request(path, headers=headers))
    if answer.status != 200:
        raise Wrong(f"{path}: {answer.status} {answer.body[:200]!r}")
    return answer.body
