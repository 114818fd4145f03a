"""Secrets never leave: no key, token or callback URL in any answer, text, output or log."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import httpx2
import pytest
from lumaai import LumaAI
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from service.simulator import Fault
from tests.acceptance.conftest import SECRET, Running, run_service
from tests.acceptance.talk import body_of, call_back, new_id, rows, text_of, told

pytestmark = pytest.mark.either_database

TOKENS = ("tracker-token-one", "tracker-token-two")
KEYS = ("luma-dream-machine-key", "luma-api-agents-key")
FOREIGN = "https://customer.example/hook?password=hunter2"
"""A callback URL of somebody else's, as Luma echoes it."""
BEARER = {"Authorization": f"Bearer {TOKENS[0]}"}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with every secret that there is."""
    given = {
        "TRACKER_API_TOKENS": ",".join(TOKENS),
        "LUMAAI_API_KEY": KEYS[0],
        "LUMA_AGENTS_API_KEY": KEYS[1],
    }
    with run_service(tmp_path_factory.mktemp("closed"), **given) as running:
        running.http.headers.update(BEARER)
        yield running


@pytest.fixture
def keeps_quiet(closed: Running) -> Callable[[str], None]:
    """Checks that a text holds no secret."""
    url = closed.callback_url
    path_token = url.rpartition("/")[2]
    signature = path_token.rpartition(".")[2]
    secrets = {*TOKENS, *KEYS, SECRET, url, path_token, signature, FOREIGN, "hunter2"}

    def check(text: str) -> None:
        assert [secret for secret in secrets if secret in text] == []

    return check


def _made(closed: Running) -> str:
    """A generation that Luma echoes our callback URL with, known by callback and by fetch."""
    url = closed.luma.dream_machine_url
    with LumaAI(base_url=url, auth_token=KEYS[0], max_retries=0) as client:
        generation = client.generations.create(
            model="ray-2", prompt="a lake", callback_url=closed.callback_url
        )
    closed.luma.advance(60)
    assert generation.id
    return generation.id


def test_no_answer_of_rest_holds_one(closed: Running, keeps_quiet: Callable[[str], None]) -> None:
    ours = _made(closed)
    asked = {**body_of("x")["request"], "callback_url": FOREIGN, "deep": {"callback_url": FOREIGN}}
    foreign = told(closed, request=asked, callback_url=FOREIGN)
    for path in (
        f"/v1/generations/{ours}",
        f"/v1/generations/{ours}?fresh=true",
        f"/v1/generations/{ours}/events",
        f"/v1/generations/{foreign}",
        "/v1/generations",
        "/openapi.json",
        "/docs",
        "/healthz",
        "/readyz",
        "/nope",
    ):
        answer = closed.http.get(path)
        keeps_quiet(answer.text + str(answer.headers))

    shown = closed.http.get(f"/v1/generations/{ours}").json()
    assert shown["request"]["callback_url"], "that there was one is no secret"


def test_what_is_kept_is_without_the_callback_url_and_so_is_what_is_shown(closed: Running) -> None:
    generation_id = _made(closed)

    kept = rows(
        closed.database, "SELECT body FROM deliveries WHERE generation_id = ?", generation_id
    )

    assert len(kept) == 2
    token = closed.callback_url.rpartition("/")[2]
    for (body,) in kept:
        assert token not in bytes(body).decode()
        assert closed.callback_url.replace(token, "[redacted]") in bytes(body).decode()
    told_rows = rows(closed.database, "SELECT request FROM generations WHERE id = ?", generation_id)
    assert closed.callback_url not in str(told_rows)


def test_the_answer_to_a_callback_does_not_repeat_its_url(
    closed: Running, keeps_quiet: Callable[[str], None]
) -> None:
    path = httpx.URL(closed.callback_url).path
    answers = [
        call_back(closed, body_of(new_id())),
        call_back(closed, b"nonsense"),
        call_back(closed, b"x" * (1024 * 1024 + 1)),
        closed.http.get(path),
        closed.http.put(path, json={}),
        closed.http.post(f"{path}/", json={}),
        closed.http.post(f"{path}/more", json={}),
        closed.http.post(f"/v1{path}", json={}),
    ]

    for answer in answers:
        keeps_quiet(answer.text)


def test_a_luma_that_repeats_our_key_is_not_repeated(
    closed: Running, keeps_quiet: Callable[[str], None]
) -> None:
    generation_id = new_id()
    detail = json.dumps({"detail": f"Invalid API key is provided: {KEYS[0]}"}).encode()
    path = f"/dream-machine/v1/generations/{generation_id}"
    closed.luma.fault(Fault(status=401, body=detail, path=path, times=None))

    answer = closed.http.get(f"/v1/generations/{generation_id}")

    assert answer.status_code == 502
    keeps_quiet(answer.text)


async def test_no_text_and_no_structure_of_mcp_holds_one(
    closed: Running, keeps_quiet: Callable[[str], None]
) -> None:
    known = [_made(closed), told(closed, request={"callback_url": FOREIGN, "prompt": "x"})]
    url = f"{closed.service.url}/mcp"
    async with (
        httpx2.AsyncClient(headers=BEARER) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        results = [
            await client.call_tool("get_generation", {"generation_id": each})
            for each in (*known, new_id(), "a b")
        ]
        results.append(await client.call_tool("list_generations", {"limit": 50}))
        tools = await client.list_tools()

    for result in results:
        keeps_quiet(text_of(result))
        keeps_quiet(json.dumps(result.structured_content))
    keeps_quiet(tools.model_dump_json())


def test_no_command_but_the_one_that_is_for_it_prints_one(
    closed: Running, keeps_quiet: Callable[[str], None]
) -> None:
    generation_id = _made(closed)
    for arguments in (
        ("get", generation_id),
        ("get", generation_id, "--json"),
        ("get", new_id()),
        ("list", "--json"),
        ("doctor",),
        ("db", "current"),
    ):
        run = closed.service.command(*arguments)
        keeps_quiet(run.stdout + run.stderr)


@pytest.mark.parametrize(
    "name", ["TRACKER_API_TOKENS", "TRACKER_CALLBACK_SECRET", "LUMAAI_API_KEY"]
)
def test_a_complaint_about_a_setting_does_not_quote_secrets(
    closed: Running, keeps_quiet: Callable[[str], None], name: str
) -> None:
    run = closed.service.command("db", "current", TRACKER_PORT="x", **{name: TOKENS[0]})

    assert run.returncode == 2
    keeps_quiet(run.stderr)


def test_the_log_holds_none(tmp_path: Path, keeps_quiet: Callable[[str], None]) -> None:
    """Whatever goes wrong: it is what people paste into bug reports."""
    given = {
        "TRACKER_API_TOKENS": ",".join(TOKENS),
        "LUMAAI_API_KEY": KEYS[0],
        "LUMA_AGENTS_API_KEY": KEYS[1],
    }
    with run_service(tmp_path, **given) as running:
        running.http.headers.update(BEARER)
        _made(running)
        path = httpx.URL(running.callback_url).path
        for body in (b"nonsense", b"{}", b"x" * (1024 * 1024 + 1), b"\xff"):
            running.http.post(path, content=body)
        running.http.get(path)
        running.http.post(f"{path}/", json={})
        generation_id = told(running, request={"callback_url": FOREIGN})
        running.luma.fault(Fault(status=500, path=generation_id, times=None))
        running.http.get(f"/v1/generations/{generation_id}?fresh=true")
        unknown = new_id()
        running.luma.fault(Fault(drop=True, path=unknown, times=None))
        running.http.get(f"/v1/generations/{unknown}")

        def broken() -> Iterator[bytes]:
            yield b'{"id": '
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            running.http.post(path, content=broken())

    log = running.service.said
    assert "listening" in log
    keeps_quiet(log)
