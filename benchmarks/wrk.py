"""wrk, which saturates a server with less CPU of its own than a Python program can."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from benchmarks.asking import Request

_LONGEST = "60s"
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "microseconds": %d, "errors": %d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What wrk says in the end."""

    requests: int
    seconds: float
    errors: int


def installed() -> bool:
    """Whether it is there."""
    return shutil.which("wrk") is not None


def run(url: str, request: Request, connections: int, seconds: float) -> Told:
    """Send one request again and again; wrk itself counts in whole seconds, so we stop it."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(script_for(request))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{_LONGEST}",
            "--timeout",
            _LONGEST,
            "-s",
            script.name,
        ]
        process = subprocess.Popen([*command, url + request.path], stdout=subprocess.PIPE)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    return parsed(said.decode())


def parsed(said: str) -> Told:
    """The line that our script has added."""
    found = json.loads(next(line for line in said.splitlines() if line.startswith('{"requests"')))
    return Told(found["requests"], found["microseconds"] / 1e6, found["errors"])


def script_for(request: Request) -> str:
    """The request in wrk's language."""
    lines = [f"wrk.method = {_quoted(request.method.encode())}"]
    lines += [
        f"wrk.headers[{_quoted(name.encode())}] = {_quoted(value.encode())}"
        for name, value in request.headers.items()
    ]
    if request.body:
        lines.append(f"wrk.body = {_quoted(request.body)}")
    return "\n".join(lines) + _DONE


def _quoted(text: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text) + '"'
