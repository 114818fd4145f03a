"""Two instances on one database behind the proxy, as the profile `postgres` runs them."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import KEYLESS, UNASKED, Service, environment_for
from tests.acceptance.proxying import Proxy, run_proxy
from tests.acceptance.talk import body_of, new_id

pytestmark = pytest.mark.thorough_on_postgres

TOKEN = "token-of-two-instances"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@dataclass
class Cluster:
    """Two instances, and the proxy in front of them."""

    instances: list[Service]
    proxy: Proxy
    http: httpx.Client

    def call_back(self, generation_id: str, state: str = "completed") -> httpx.Response:
        """As Luma does, at the proxy."""
        return self.http.post(self.instances[0].callback_path, json=body_of(generation_id, state))

    def read(self, generation_id: str, **parameters: str) -> httpx.Response:
        """Whichever instance answers."""
        return self.http.get(f"/v1/generations/{generation_id}", params=parameters)


def counted(service: Service, metric: str) -> float:
    """The sum of a metric of one instance, over its labels."""
    text = httpx.get(f"{service.url}/metrics", headers=BEARER).text
    return sum(float(n) for n in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def one_database(folder: Path, luma: Luma) -> dict[str, str]:
    """What both instances are started with."""
    return environment_for(folder, luma, TRACKER_API_TOKENS=TOKEN, **UNASKED, **KEYLESS)


@pytest.fixture
def cluster(tmp_path: Path, luma: Luma) -> Iterator[Cluster]:
    """Both instances started at the same time, on a database that is still to be made."""
    services = [Service(one_database(tmp_path, luma), tmp_path) for _ in range(2)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Service.start, services))
        for service in services:
            assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200
        with (
            run_proxy(tmp_path, [service.url for service in services]) as proxy,
            httpx.Client(base_url=proxy.url, headers=BEARER, timeout=20) as http,
        ):
            yield Cluster(services, proxy, http)
    finally:
        for service in services:
            if hasattr(service, "process"):
                service.stop()


def test_what_one_instance_is_told_is_read_of_the_other(cluster: Cluster) -> None:
    ids = [new_id() for _ in range(20)]
    for generation_id in ids:
        assert cluster.call_back(generation_id).status_code == 200
        shown = [cluster.read(generation_id) for _ in range(2)]  # one of each, taking turns
        assert [answer.status_code for answer in shown] == [200, 200]
        assert shown[0].json() == shown[1].json()
        assert shown[0].headers["etag"] == shown[1].headers["etag"]

    for service in cluster.instances:
        assert counted(service, "luma_tracker_callbacks_total") > 0
        assert counted(service, "luma_tracker_lookups_total") > 0


def test_who_waits_at_one_instance_is_told_of_a_callback_to_the_other(cluster: Cluster) -> None:
    generation_id = new_id()
    assert cluster.call_back(generation_id, "dreaming").status_code == 200
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(cluster.read, generation_id, wait="60") for _ in range(4)]
        assert cluster.call_back(generation_id).status_code == 200
        answers = [wait.result(timeout=20) for wait in waiting]

    assert [answer.json()["state"] for answer in answers] == ["completed"] * 4


@pytest.mark.thorough
def test_one_instance_dies_in_a_storm_of_callbacks_and_none_is_lost(cluster: Cluster) -> None:
    ids = [new_id() for _ in range(200)]
    dying, living = cluster.instances

    def send(number: int) -> int:
        if number == 60:
            dying.kill()
        try:
            return cluster.call_back(ids[number]).status_code
        except httpx.RemoteProtocolError:  # it died in the middle of its answer: Luma tries again
            return cluster.call_back(ids[number]).status_code

    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(send, range(len(ids))))

    assert answered == [200] * len(ids)
    assert {cluster.read(generation_id).status_code for generation_id in ids} == {200}

    dying.start("--port", str(urlsplit(dying.url).port))
    for generation_id in ids:
        assert cluster.read(generation_id).json()["state"] == "completed"
    assert counted(living, "luma_tracker_callbacks_total") > 0


@pytest.mark.either_database
def test_without_any_instance_the_proxy_says_so_and_logs_no_callback_url(
    cluster: Cluster,
) -> None:
    for service in cluster.instances:
        service.kill()

    assert cluster.call_back(new_id()).status_code == 502
    assert cluster.http.post("/callbacks/%00").status_code in (400, 502)

    assert "/callbacks/" not in cluster.proxy.said
    assert " 502 after " in cluster.proxy.said


@pytest.mark.either_database
def test_the_proxy_says_who_asks_whatever_they_say_themselves(cluster: Cluster) -> None:
    def guess(address: str, number: int) -> int:
        transport = httpx.HTTPTransport(local_address=address)
        lies = {"Authorization": f"Bearer {number}", "X-Forwarded-For": f"192.0.2.{number}"}
        with httpx.Client(transport=transport, headers=lies) as stranger:
            return stranger.get(f"{cluster.proxy.url}/v1/generations").status_code

    guesses = [guess("127.0.4.1", number) for number in range(50)]

    assert set(guesses[:20]) == {401}
    assert set(guesses[-5:]) == {429}, "20 a minute at each instance"
    assert guess("127.0.4.2", 0) == 401


@pytest.mark.either_database
def test_a_page_of_ours_may_write_and_a_foreign_one_may_not(cluster: Cluster) -> None:
    """Told by the name in the URL, port included, so that has to come through as it was sent."""

    def replay(origin: str) -> int:
        return cluster.http.post("/v1/deliveries/x/replay", headers={"Origin": origin}).status_code

    assert [replay(cluster.proxy.url) for _ in range(2)] == [404, 404]
    assert replay("https://elsewhere.example") == 403


@pytest.mark.either_database
def test_the_image_asks_an_instance_how_it_is(cluster: Cluster) -> None:
    """With the command of the Dockerfile."""
    check = re.findall(r"HEALTHCHECK.*\\\n\s*CMD (.*)", DOCKERFILE.read_text())
    [(_, *arguments)] = map(json.loads, check)

    def health(service: Service) -> int:
        port = {"TRACKER_PORT": str(urlsplit(service.url).port)}
        run = subprocess.run([sys.executable, *arguments], env=port, capture_output=True)
        return run.returncode

    assert health(cluster.instances[0]) == 0
    cluster.instances[0].kill()
    assert health(cluster.instances[0]) == 1


@pytest.mark.parametrize("path", ["/v1/events", "/mcp"])
def test_streams_pass_the_proxy_event_by_event(tmp_path: Path, path: str) -> None:
    """Each is sent only after the one before it has arrived."""
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        run_proxy(tmp_path, [f"http://127.0.0.1:{upstream.getsockname()[1]}"]) as proxy,
        ThreadPoolExecutor() as pool,
        httpx.Client(timeout=20) as http,
    ):
        request = http.build_request("GET", proxy.url + path)
        opened = pool.submit(http.send, request, stream=True)
        upstream.settimeout(20)
        sender, _ = upstream.accept()
        with sender:
            sender.recv(65536)
            sender.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            arriving = opened.result(timeout=20).iter_raw()
            for event in (b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"):
                sender.sendall(event)
                assert next(arriving) == event
