"""Callback URLs as Luma is given them: they rotate, single ones are bound, and guesses fail."""

import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from service.simulator import Luma
from service.tracking.callback_tokens import CallbackTokens
from tests.acceptance.conftest import SECRET, Service, environment_for
from tests.hostile import PROBLEM, Target, ask, target

GOOD = CallbackTokens([SECRET]).reusable()
ALONE = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": ""}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service without keys: it is told by callbacks alone."""
    with target(tmp_path_factory.mktemp("tokens"), **ALONE) as one:
        yield one


def _url(service: Service, token: str) -> str:
    return f"{service.url}/callbacks/{token}"


def _said_of(generation_id: str, state: str = "dreaming") -> bytes:
    return f'{{"id": "{generation_id}", "state": "{state}"}}'.encode()


def _written(service: Service) -> list[int]:
    """How much each table holds, and how many duplicates were counted."""
    return [
        service.rows(query)[0][0]
        for query in (
            "SELECT count(*) FROM deliveries",
            "SELECT coalesce(sum(duplicates), 0) FROM deliveries",
            "SELECT count(*) FROM generations",
            "SELECT count(*) FROM events",
            "SELECT count(*) FROM bindings",
        )
    ]


@pytest.mark.either_database
def test_keys_rotate_without_a_gap(start_service: Callable[..., Service]) -> None:
    service = start_service(**ALONE, TRACKER_CALLBACK_SECRET="old")
    old = CallbackTokens(["old"])
    old_single = old.single()
    assert httpx.post(_url(service, old.reusable()), content=_said_of("before")).is_success

    service.stop()
    service.environment["TRACKER_CALLBACK_SECRET"] = "new,old"
    service.start()
    new = CallbackTokens(["new"]).reusable()
    for n, token in enumerate((old.reusable(), old_single, new)):
        assert httpx.post(_url(service, token), content=_said_of(f"both-{n}")).status_code == 200

    service.stop()
    service.environment["TRACKER_CALLBACK_SECRET"] = "new"
    service.start()
    before = _written(service)
    for token in (old.reusable(), old_single, old.single()):
        assert httpx.post(_url(service, token), content=_said_of("both-1")).status_code == 404
    assert _written(service) == before
    assert httpx.post(_url(service, new), content=_said_of("after")).status_code == 200


def test_a_single_url_is_bound_to_the_first_id_also_after_a_restart(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**ALONE)
    printed = service.command("callback-url", "--single").stdout.strip()
    token = printed.rpartition("/")[2]

    def post(body: bytes) -> int:
        return httpx.post(_url(service, token), content=body).status_code

    assert post(b"no generation") == 422  # which binds nothing
    assert post(_said_of("first")) == 200
    assert post(_said_of("first")) == 200
    before = _written(service)
    assert post(_said_of("second")) == 404
    service.stop()
    service.start()
    assert post(_said_of("second", "completed")) == 404
    assert _written(service) == before
    assert post(_said_of("first", "completed")) == 200


@pytest.mark.either_database
def test_the_refusal_of_a_bound_url_is_counted_and_looks_like_any_other(running: Target) -> None:
    single = CallbackTokens([SECRET]).single()
    url = _url(running.service, single)
    reason = "callback token of another generation"
    running.http.post(url, content=_said_of("mine"))
    before = running.metric("luma_tracker_refusals_total", reason=reason)
    bound = running.http.post(url, content=_said_of("yours"))
    wrong = running.http.post("/callbacks/wrong", content=_said_of("yours"))
    assert bound.status_code == wrong.status_code == 404
    assert bound.content == wrong.content
    assert running.metric("luma_tracker_refusals_total", reason=reason) == before + 1
    assert running.http.get("/v1/generations/yours").status_code == 404


def test_of_many_ids_at_once_a_single_url_takes_one(running: Target) -> None:
    url, at_once = _url(running.service, CallbackTokens([SECRET]).single()), 8
    together = Barrier(at_once)

    def post(n: int) -> int:
        together.wait()
        return httpx.post(url, content=_said_of(f"race-{n}")).status_code

    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(post, range(at_once)))

    assert sorted(answers) == [200] + [404] * (at_once - 1)
    rows = running.service.rows("SELECT count(*) FROM generations WHERE id LIKE 'race-%'")
    assert rows == [(1,)]


def test_two_single_urls_know_nothing_of_each_other(running: Target) -> None:
    one, other = (CallbackTokens([SECRET]).single() for _ in range(2))
    for token, generation_id in ((one, "one"), (other, "other"), (GOOD, "one"), (GOOD, "other")):
        url = _url(running.service, token)
        assert running.http.post(url, content=_said_of(generation_id)).status_code == 200


WRONG = {
    "nothing like it": "x",
    "cut short": GOOD[:-1],
    "without its signature": GOOD.rpartition(".")[0],
    "extended": GOOD + "A",
    "extended by padding": GOOD + "=",
    "extended by junk": GOOD + "~~~~",
    "extended by a blank": GOOD + "%20",
    "extended by a NUL": GOOD + "%00",
    "twice": GOOD + GOOD,
    "in capitals": GOOD.upper(),
    "in the other case": GOOD.swapcase(),
    "for any id of another key": CallbackTokens(["other"]).reusable(),
    "single, of another key": CallbackTokens(["other"]).single(),
    "10 kB": "A" * 10_000,
    "10 kB of dots": "." * 10_000,
    "unicode": "%C3%A9%F0%9F%98%80",
    "no UTF-8": "%FF%FE",
    "a blank": "%20",
    "a NUL": "%00",
    "SQL": "'%20OR%20''='",
    "a star": "*",
    "a dot": "%2E",
}


@pytest.mark.either_database
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_token_is_404_counted_and_writes_nothing(running: Target, name: str) -> None:
    counted = running.metric("luma_tracker_refusals_total", reason="callback token")
    before = _written(running.service)
    body = _said_of(f"wrong-{list(WRONG).index(name)}", "completed")
    more = (b"Content-Length: %d" % len(body), b"Connection: close", b"", body)
    answer = ask(running.service.url, f"/callbacks/{WRONG[name]}", *more, method="POST")
    after = running.metric("luma_tracker_refusals_total", reason="callback token")
    assert answer.status == 404
    assert answer.headers["content-type"] == PROBLEM
    assert _written(running.service) == before
    assert after == counted + 1


@pytest.mark.either_database
@pytest.mark.parametrize("path", ["/callbacks/", f"/callbacks/{GOOD}/x", f"/callbacks/a/{GOOD}"])
def test_no_token_or_one_with_a_slash_is_404_and_counted_too(running: Target, path: str) -> None:
    counted = running.metric("luma_tracker_refusals_total", reason="callback token")
    answer = running.http.post(path, content=_said_of("slash"))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM
    assert running.metric("luma_tracker_refusals_total", reason="callback token") == counted + 1


@pytest.mark.either_database
def test_a_token_anywhere_but_in_the_path_counts_for_nothing(running: Target) -> None:
    for headers in ({"Authorization": f"Bearer {GOOD}"}, {"Cookie": f"token={GOOD}"}):
        url = f"/callbacks/x?token={GOOD}"
        answer = running.http.post(url, content=_said_of("elsewhere"), headers=headers)
        assert answer.status_code == 404


@pytest.mark.either_database
def test_a_query_behind_the_token_does_no_harm(running: Target) -> None:
    url = _url(running.service, GOOD)
    assert running.http.post(f"{url}?a=b&token=x", content=_said_of("query")).status_code == 200


@pytest.mark.thorough
@pytest.mark.sqlite
def test_a_secret_is_made_once_by_whoever_comes_first(tmp_path: Path, luma: Luma) -> None:
    """Three at once, under a umask that would let everybody read."""
    environment = environment_for(tmp_path, luma, TRACKER_CALLBACK_SECRET="", **ALONE)
    command = ["/bin/sh", "-c", 'umask 0; exec "$0" -m service callback-url', sys.executable]
    runs = [
        subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    printed = [run.communicate(timeout=60)[0].strip() for run in runs]
    secret = tmp_path / "callback.secret"

    assert [run.returncode for run in runs] == [0] * 3
    assert len(set(printed)) == 1
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert printed[0].endswith(CallbackTokens([secret.read_text()]).reusable())
    assert sorted(tmp_path.glob("callback.secret*")) == [secret]
