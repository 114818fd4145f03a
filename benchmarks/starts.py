"""Rows of starting: how soon the command line says something."""

import json
import resource
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.asking import Wrong
from benchmarks.finding import Finding
from benchmarks.processes import python
from benchmarks.stage import Stage

_HELP = ("-m", "service", "--help")
_NOTHING = ("-c", "pass")
_LAZY = ("-m", "service", "mcp")
_EAGER = ("-m", "benchmarks.peers.eager", "mcp")
_VERSION = "2025-11-25"

Taken = tuple[float, float]
"""Seconds by the clock, and of CPU until it ended."""


def help_(stage: Stage) -> Finding:
    """`luma-tracker --help`, beyond what starting Python takes."""
    runs = _in_turn(stage, b"", _HELP, _NOTHING)
    wall, cpu = (median(a[way] - b[way] for a, b in runs) for way in (0, 1))
    return Finding(cpu, *_told(runs), f"by CPU; {wall:.2f} s by the clock")


def first_answer(stage: Stage) -> Finding:
    """From the start of `luma-tracker mcp` to its first answer of a tool."""
    runs = _in_turn(stage, _first_call(stage.generation_id), _LAZY, _EAGER)
    wall, cpu = (median(a[way] / b[way] for a, b in runs) for way in (0, 1))
    return Finding(wall, *_told(runs), f"{cpu:.2f} × by CPU")


def _in_turn(
    stage: Stage, said: bytes, ours: Sequence[str], peer: Sequence[str]
) -> list[tuple[Taken, Taken]]:
    """Both, again and again; the first time of each, which may have to compile, is not counted."""
    times = 2 if stage.quick else 9
    return [(_run(stage, ours, said), _run(stage, peer, said)) for _ in range(times + 1)][1:]


def _run(stage: Stage, arguments: Sequence[str], said: bytes) -> Taken:
    """Start, and wait for the end of what it prints; or if it was asked something, the answer."""
    before, begun = _children_cpu(), time.perf_counter()
    with python(arguments, stage.folder, **_settings(stage)) as process:
        if process.stdin is None or process.stdout is None:
            raise Wrong("it has pipes")
        process.stdin.write(said)
        process.stdin.flush()
        while (line := process.stdout.readline()) and not _answers(line, said):
            pass
        wall = time.perf_counter() - begun
        process.stdin.close()
        process.stdout.read()
    if process.returncode or (said and not line):
        raise Wrong(f"{' '.join(arguments)} failed")
    return wall, _children_cpu() - before


def _settings(stage: Stage) -> dict[str, str]:
    return stage.settings(stage.folder / "started", stage.filled)


def _answers(line: bytes, said: bytes) -> bool:
    """Whether a line is the answer of the tool."""
    if not said:
        return False
    answer = json.loads(line)
    if answer.get("id") != 2:
        return False
    if answer["result"].get("isError"):
        raise Wrong(f"get_generation answered {line[:300]!r}")
    return True


def _first_call(generation_id: str) -> bytes:
    """What a client writes: the handshake, and a call."""
    client = {"name": "benchmark", "version": "1"}
    hello = {"protocolVersion": _VERSION, "capabilities": {}, "clientInfo": client}
    call = {"name": "get_generation", "arguments": {"generation_id": generation_id}}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    return b"".join(json.dumps({"jsonrpc": "2.0", **m}).encode() + b"\n" for m in messages)


def _children_cpu() -> float:
    """Seconds of CPU of those children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _told(runs: Sequence[tuple[Taken, Taken]]) -> tuple[str, str]:
    ours, peer = (median(run[side][0] for run in runs) for side in (0, 1))
    return f"{ours * 1000:,.0f} ms", f"{peer * 1000:,.0f} ms"
