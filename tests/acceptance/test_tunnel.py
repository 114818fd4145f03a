"""`serve --tunnel`: Luma reaches callbacks and nothing else, for as long as the tunnel is open.

In place of Cloudflare's program there is one that logs what the real one logs, and forwards
nothing: the tests speak to the socket that it was told to forward to.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator
from tests.acceptance.conftest import UNASKED, Service, environment_for
from tests.acceptance.talk import body_of, new_id
from tests.launching import run
from tests.waiting import until

pytestmark = pytest.mark.either_database

STAND_IN = """\
#!/bin/sh
folder=$(dirname "$0")
env > "$folder/environment"
echo "$$ $*" >> "$folder/started"
sed "s/NUMBER/$(wc -l < "$folder/started" | tr -d ' ')/" "$folder/log" >&2
test -e "$folder/fails" && exit 1
exec sleep 600
"""
OPENED = """\
2026-05-30T12:00:00Z INF Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare \
account, is a quick way to experiment and try it out.
2026-05-30T12:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...
2026-05-30T12:00:03Z INF +-----------------------------------------------------------------------+
2026-05-30T12:00:03Z INF |  Your quick Tunnel has been created! Visit it at (it may take some    |
2026-05-30T12:00:03Z INF |  https://four-random-words-NUMBER.trycloudflare.com                   |
2026-05-30T12:00:03Z INF +-----------------------------------------------------------------------+
2026-05-30T12:00:04Z INF Registered tunnel connection connIndex=0 event=0 location=fra08
"""
REFUSED = """\
2026-05-30T12:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...
failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: lookup \
api.trycloudflare.com: no such host
"""


class Cloudflared:
    """The stand-in, in a folder for PATH."""

    def __init__(self, folder: Path, log: str = OPENED) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "log").write_text(log)
        program = folder / "cloudflared"
        program.write_text(STAND_IN)
        program.chmod(0o755)

    @property
    def path(self) -> str:
        """The PATH that finds it first."""
        return f"{self.folder}:{os.environ['PATH']}"

    @property
    def started(self) -> list[str]:
        """The process id and arguments of each start."""
        return (self.folder / "started").read_text().splitlines()

    @property
    def pid(self) -> int:
        """The latest process."""
        return int(self.started[-1].split()[0])

    @property
    def target(self) -> str:
        """The URL that it is to forward to."""
        return self.started[-1].partition("--url ")[2]


class Tunnelled(Service):
    """A service, its tunnel, and Luma's stand-in."""

    luma: Luma
    program: Cloudflared

    def callback_base(self) -> str:
        """Create a generation, and return where Luma is to call back."""
        created = httpx.post(
            f"{self.url}/dream-machine/v1/generations",
            json={"model": "ray-2", "prompt": "a lake"},
            timeout=20,
        )
        assert created.status_code == 201
        [*_, seen] = [each for each in self.luma.requests if each.method == "POST"]
        return str(json.loads(seen.body)["callback_url"]).partition("/callbacks/")[0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tunnelled]:
    """Two workers behind a tunnel; each test leaves them so."""
    folder = tmp_path_factory.mktemp("tunnelled")
    program = Cloudflared(folder / "bin")
    with Simulator(clock=ManualClock()).running() as luma:
        given = {**UNASKED, "PATH": program.path, "TUNNEL_TOKEN": "x"}
        given["TRACKER_PUBLIC_URL"] = "https://old.example"
        service = Tunnelled(environment_for(folder, luma, **given), folder)
        service.luma, service.program = luma, program
        service.start("--port", "0", "--tunnel", "--workers", "2")
        until(lambda: service.said.count("listening url=") == 2)
        yield service
        service.stop()


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_callbacks_come_through_and_nothing_else_does(service: Tunnelled) -> None:
    with httpx.Client(base_url=service.program.target, timeout=20) as outside:
        told = outside.post(service.callback_path, json=body_of("told", "completed"))
        assert told.json() == {"outcome": "applied"}
        local = {"Host": "localhost"}
        for method, path in [
            *(("GET", path) for path in ("/", "/healthz", "/readyz", "/metrics", "/docs")),
            *(("GET", path) for path in ("/v1/generations", "/v1/generations/told", "/callbacks/")),
            ("GET", service.callback_path),
            ("POST", "/mcp"),
            ("POST", "/v1/generations/told/refresh"),
            ("POST", "/callbacks/../v1/backfill"),
            ("POST", "/callbacks/wrong"),
            ("DELETE", "/dream-machine/v1/generations/told"),
        ]:
            answer = outside.request(method, path, headers=local)
            assert answer.status_code == 404, path
            assert answer.headers["x-content-type-options"] == "nosniff"
    inside = httpx.get(f"{service.url}/v1/generations/told", timeout=20)
    assert (inside.status_code, inside.json()["state"]) == (200, "completed")


def test_its_url_is_the_public_one_and_our_secrets_are_not_told(service: Tunnelled) -> None:
    number = len(service.program.started)
    assert service.callback_base() == f"https://four-random-words-{number}.trycloudflare.com"
    assert "callbacks_only" not in service.said
    told = (service.program.folder / "environment").read_text()
    assert not re.search("TRACKER_|LUMA|TUNNEL_", told)
    assert "tunnel --config /dev/null " in service.program.started[-1]


@pytest.mark.thorough
def test_a_reload_keeps_the_tunnel(service: Tunnelled) -> None:
    before, ports = service.program.started, service.program.target
    begin = len(service.said)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.said[begin:].count("listening url=") == 2)

    assert (service.program.started, service.program.target) == (before, ports)
    told = httpx.post(f"{ports}{service.callback_path}", json=body_of(new_id()), timeout=20)
    assert told.status_code == 200
    assert service.callback_base().endswith(f"-{len(before)}.trycloudflare.com")


@pytest.mark.thorough
def test_a_tunnel_that_ends_is_opened_again_under_its_new_url(service: Tunnelled) -> None:
    begin, number = len(service.said), len(service.program.started)
    target = service.program.target
    os.kill(service.program.pid, signal.SIGKILL)
    until(lambda: service.said[begin:].count("listening url=") == 2)

    assert len(service.program.started) == number + 1
    assert service.program.target == target
    [closed] = re.findall("event=tunnel_closed.*", service.said[begin:])
    assert "Registered tunnel connection" in closed
    new = f"https://four-random-words-{number + 1}.trycloudflare.com"
    assert f"tunnel_opened url={new}" in service.said[begin:]
    assert service.callback_base() == new
    told = httpx.post(f"{target}{service.callback_path}", json=body_of(new_id()), timeout=20)
    assert told.status_code == 200


@pytest.mark.thorough
def test_it_ends_with_the_service(tmp_path: Path, luma: Luma) -> None:
    program = Cloudflared(tmp_path / "bin")
    environment = environment_for(tmp_path, luma, **UNASKED, PATH=program.path)
    service = Service(environment, tmp_path)
    service.start("--port", "0", "--tunnel")
    assert is_running(program.pid)

    service.stop()

    assert service.process.returncode == 0
    assert not is_running(program.pid)


@pytest.mark.thorough
def test_a_tunnel_that_does_not_open_stops_the_start(tmp_path: Path, luma: Luma) -> None:
    program = Cloudflared(tmp_path / "bin", REFUSED)
    (program.folder / "fails").touch()
    environment = environment_for(tmp_path, luma, PATH=program.path)
    ended = run(["serve", "--port", "0", "--tunnel"], environment=environment, folder=tmp_path)

    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "--tunnel: cloudflared opened no tunnel" in line
    assert REFUSED.splitlines()[-1] in line


def test_without_the_program_it_says_what_to_install(tmp_path: Path, luma: Luma) -> None:
    environment = environment_for(tmp_path, luma, PATH=str(tmp_path))
    ended = run(["serve", "--port", "0", "--tunnel"], environment=environment, folder=tmp_path)

    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "cloudflared is not installed" in line
    assert "TRACKER_PUBLIC_URL" in line
