"""The gateway answers reads of one generation from the store, as Luma itself would."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from service.simulator import Fault, Plan
from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import body_of, call_back, eventually, new_id, read
from tests.databases import execute

pytestmark = pytest.mark.either_database

BASES = {"dream_machine": "/dream-machine/v1", "agents": "/agents/v1"}
OPERATIONS = [
    *(("dream_machine", name) for name in ("video", "image", "upscale_video", "add_audio")),
    *(("dream_machine", name) for name in ("reframe_image", "reframe_video", "modify_video")),
    *(("agents", name) for name in ("image", "image_edit", "video", "video_edit")),
    *(("agents", name) for name in ("video_reframe", "layering")),
]
FAILS = Plan(
    outcome="failed", failure_reason="prompt not allowed", failure_code="generation_failed"
)
UNKNOWN: dict[str, Any] = {
    "a_new_field": {"nested": [1, 2.5, None, True, "é \N{SNOWMAN}"]},
    "progress": 0.1,
    "big": 2**70,
}
"""Fields that this version of the tracker has never heard of."""
HIT, MISS, STALE = (f"luma-tracker; {each}" for each in ("hit", "fwd=miss", "fwd=stale"))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """It takes whatever is quiet for half a second for stale, and gives Luma two seconds."""
    given = {"TRACKER_STALE_AFTER": "0.5", "TRACKER_UPSTREAM_TIMEOUT": "2"}
    with run_service(tmp_path_factory.mktemp("impatient"), **given) as running:
        yield running


def get(
    running: Running, generation_id: str, upstream: str = "dream_machine", **headers: str
) -> httpx.Response:
    return running.http.get(f"{BASES[upstream]}/generations/{generation_id}", headers=headers)


def asked(running: Running, generation_id: str) -> int:
    """How often Luma was asked for it, on either API."""
    return running.luma.count("GET", f"/generations/{generation_id}")


def without_signatures(body: dict[str, Any]) -> dict[str, Any]:
    """The Agents API signs its URLs anew in every answer."""
    shown = json.loads(json.dumps(body))
    for output in shown.get("output", []):
        output["url"] = output["url"].partition("?")[0]
    return dict(shown)


# Equal to Luma's own answers


@pytest.mark.parametrize(("upstream", "operation"), OPERATIONS)
def test_every_operation_and_state_is_shown_as_luma_shows_it(
    shared: Running, upstream: Any, operation: str
) -> None:
    ids = [shared.luma.create(operation, upstream=upstream, plan=plan) for plan in (None, FAILS)]
    states = set()
    for seconds in (0.0, 0.5, 60.0):
        shared.luma.advance(seconds)
        for generation_id in ids:
            asked_luma = get(shared, generation_id, upstream, **{"Cache-Control": "no-cache"})
            stored = get(shared, generation_id, upstream)

            luma_says = without_signatures(shared.luma.body(generation_id))
            assert without_signatures(asked_luma.json()) == luma_says
            assert stored.content == asked_luma.content
            assert stored.headers["content-type"] == "application/json"
            states.add(luma_says["state"])

    assert {"queued", "completed", "failed"} < states


@pytest.mark.parametrize("theirs", [None, "https://example.com/hook?x=1"])
def test_what_only_a_callback_told_is_shown_with_all_its_fields(
    shared: Running, theirs: str | None
) -> None:
    body = body_of(new_id(), "dreaming", **UNKNOWN)
    body["request"] = {**body["request"], "callback_url": theirs, "novel": [{}]}
    call_back(shared, body)

    answer = get(shared, body["id"])

    assert answer.json() == body
    assert answer.headers["cache-status"] == HIT
    assert answer.headers["age"] in ("0", "1")
    assert read(shared, body["id"])["verified"] is False
    assert asked(shared, body["id"]) == 0


def test_a_callback_url_of_ours_is_null(shared: Running) -> None:
    body = body_of(new_id(), "completed")
    body["request"] = {**body["request"], "callback_url": shared.callback_url}
    call_back(shared, body)

    shown = get(shared, body["id"]).json()

    assert shown == {**body, "request": {**body["request"], "callback_url": None}}


@pytest.mark.parametrize("upstream", BASES)
def test_fields_that_we_do_not_know_survive_a_fetch_and_a_verification(
    shared: Running, upstream: str
) -> None:
    generation_id = new_id()
    body = body_of(generation_id, "completed", **UNKNOWN)
    path = f"{BASES[upstream]}/generations/{generation_id}"
    shared.luma.fault(Fault(path=path, body=json.dumps(body).encode(), times=2))

    first, second = get(shared, generation_id, upstream), get(shared, generation_id, upstream)

    assert first.json() == second.json() == body
    assert (first.headers["cache-status"], second.headers["cache-status"]) == (MISS, HIT)
    assert asked(shared, generation_id) == 1


def test_what_luma_confirms_takes_the_place_of_what_a_callback_claimed(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.advance(60)
    claimed = {**shared.luma.body(generation_id), "claimed": True}
    call_back(shared, claimed)
    assert get(shared, generation_id).json() == claimed

    asked_luma = get(shared, generation_id, **{"Cache-Control": "max-age=0, no-cache"})

    assert asked_luma.json() == shared.luma.body(generation_id)
    assert asked_luma.headers["cache-status"] == STALE
    assert get(shared, generation_id).json() == shared.luma.body(generation_id)
    assert read(shared, generation_id)["verified"] is True


# Freshness


def test_any_number_of_callers_cost_one_request_to_the_api_that_they_ask(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.fault(Fault(delay=0.3, path=generation_id))

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: get(shared, generation_id), range(24)))

    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, answers[0].content)
    }
    assert asked(shared, generation_id) == 1


def test_an_open_one_that_has_gone_quiet_is_refreshed_behind_the_answer(impatient: Running) -> None:
    generation_id = impatient.luma.create()
    assert get(impatient, generation_id).json()["state"] == "queued"
    impatient.luma.advance(60)

    seen = set()

    def is_completed() -> bool:
        answer = get(impatient, generation_id)
        seen.add((answer.headers["cache-status"], answer.json()["state"]))
        return bool(answer.json()["state"] == "completed")

    eventually(is_completed, "it is refreshed")
    assert (STALE, "queued") in seen
    assert (HIT, "completed") in seen
    assert asked(impatient, generation_id) == 2


def test_urls_that_have_died_are_fetched_before_the_answer(shared: Running) -> None:
    generation_id = shared.luma.create("image", upstream="agents")
    shared.luma.advance(60)
    body = shared.luma.body(generation_id)
    plain, now = body["output"][0]["url"].partition("?")[0], datetime.now(UTC)
    signed = f"{plain}?X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3"
    body["output"][0]["url"] = signed
    shared.luma.fault(Fault(path=generation_id, body=json.dumps(body).encode()))
    assert get(shared, generation_id, "agents").json() == body

    later = eventually(
        lambda: (
            (answer := get(shared, generation_id, "agents")).headers["cache-status"] == STALE
            and answer
        ),
        "the signature has expired",
    )

    assert isinstance(later, httpx.Response)
    [output] = later.json()["output"]
    assert output["url"].startswith(plain)
    assert output["url"] != signed
    assert asked(shared, generation_id) == 2


def test_with_luma_down_what_is_stored_is_answered(impatient: Running) -> None:
    generation_id = impatient.luma.create()
    body = get(impatient, generation_id).json()
    impatient.luma.fault(Fault(path=generation_id, drop=True, times=None))

    for headers in ({}, {"Cache-Control": "no-cache"}):
        answer = get(impatient, generation_id, **headers)
        assert (answer.status_code, answer.json()) == (200, body)
    impatient.luma.clear_faults()


# Rows of which Luma's own words are not stored


def test_a_row_without_lumas_words_is_asked_for_anew(shared: Running) -> None:
    generation_id = shared.luma.create()
    shared.luma.advance(60)
    read(shared, generation_id)
    execute(shared.database, "UPDATE generations SET document = NULL WHERE id = ?", generation_id)

    first, second = get(shared, generation_id), get(shared, generation_id)

    assert first.json() == second.json() == shared.luma.body(generation_id)
    assert second.headers["cache-status"] == HIT


@pytest.mark.parametrize(("upstream", "operation"), OPERATIONS)
@pytest.mark.parametrize("plan", [None, FAILS], ids=["completed", "failed"])
def test_with_luma_down_such_a_row_is_composed(
    shared: Running, upstream: Any, operation: str, plan: Plan | None
) -> None:
    generation_id = shared.luma.create(operation, upstream=upstream, plan=plan)
    shared.luma.advance(60)
    read(shared, generation_id)
    execute(shared.database, "UPDATE generations SET document = NULL WHERE id = ?", generation_id)
    shared.luma.fault(Fault(path=generation_id, status=404, body=b"<html>", times=None))

    shown = get(shared, generation_id, upstream)

    luma_says = without_signatures(shared.luma.body(generation_id))
    composed = without_signatures(shown.json())
    composed["created_at"] = luma_says["created_at"]  # of equal meaning, with microseconds
    for output in [*composed.get("output", []), *luma_says.get("output", [])]:
        output.pop("layer", None)
    assert composed == luma_says


# What is not there


@pytest.mark.parametrize("upstream", BASES)
def test_an_unknown_one_is_lumas_own_404(shared: Running, upstream: str) -> None:
    generation_id = new_id()

    answers = [get(shared, generation_id, upstream) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert [answer.json() for answer in answers] == [{"detail": "Generation not found"}] * 3
    assert shared.luma.count("GET", f"{BASES[upstream]}/generations/{generation_id}") == 1
    assert asked(shared, generation_id) == 1, "the other API is not asked"


def test_an_id_of_the_other_api_is_not_shown(shared: Running) -> None:
    generation_id = shared.luma.create()
    assert get(shared, generation_id).status_code == 200

    answer = get(shared, generation_id, "agents")

    assert (answer.status_code, answer.json()) == (404, {"detail": "Generation not found"})
    assert answer.headers["x-api-version"]
    assert get(shared, generation_id).status_code == 200


@pytest.mark.parametrize(
    ("status", "body", "ours"),
    [
        (401, b'{"detail": "Invalid API key"}', 401),
        (400, b'{"detail": [{"msg": "no"}]}', 400),
        (402, b'{"detail": "Insufficient credits. Please add credits to continue."}', 402),
        (403, b"<html>", 502),
        (404, b"<html>", 502),
        (200, b"<html>", 502),
        (200, b"[]", 502),
        (500, b'{"detail": "Internal Server Error"}', 503),
        (502, b"<html>", 503),
    ],
)
def test_an_error_of_luma_is_passed_on_if_it_is_in_lumas_form(
    shared: Running, status: int, body: bytes, ours: int
) -> None:
    generation_id = new_id()
    shared.luma.fault(Fault(path=generation_id, status=status, body=body, times=None))

    answer = get(shared, generation_id)

    assert answer.status_code == ours
    assert set(answer.json()) == {"detail"}
    if ours == status:
        assert answer.content == body
    if ours == 503:
        assert int(answer.headers["retry-after"]) > 0


def test_a_redirect_of_luma_is_passed_on(shared: Running) -> None:
    generation_id = new_id()
    to = {"Location": "https://elsewhere.example/"}
    shared.luma.fault(Fault(path=generation_id, status=307, body=b"", headers=to))

    answer = get(shared, generation_id)

    assert (answer.status_code, answer.headers["location"]) == (307, to["Location"])


# What is gone


def test_a_deleted_one_is_gone_and_still_answered(shared: Running) -> None:
    generation_id = shared.luma.create()
    body = get(shared, generation_id).json()

    deleted = shared.http.delete(f"/dream-machine/v1/generations/{generation_id}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert read(shared, generation_id)["gone_at"]
    answer = get(shared, generation_id)
    assert (answer.status_code, answer.json()) == (200, body)
    listed = shared.http.get("/v1/generations", params={"id": generation_id}).json()
    assert listed["items"] == []


def test_a_delete_that_luma_refuses_changes_nothing(shared: Running) -> None:
    generation_id = shared.luma.create()
    get(shared, generation_id)
    shared.luma.fault(Fault(path=generation_id, method="DELETE", status=403))

    refused = shared.http.delete(f"/dream-machine/v1/generations/{generation_id}")

    assert (refused.status_code, refused.json()) == (403, {"detail": "Forbidden"})
    assert read(shared, generation_id)["gone_at"] is None


def test_head_is_answered_as_get_without_a_body(shared: Running) -> None:
    generation_id = shared.luma.create()
    full = get(shared, generation_id)

    head = shared.http.head(f"/dream-machine/v1/generations/{generation_id}")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(full.content))
