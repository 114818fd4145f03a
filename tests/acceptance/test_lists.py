"""Lists: filters, words, orders, pages without gaps or repeats; and the history of one."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from lumaai import LumaAI

from service.simulator import Fault, Plan
from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import body_of, call_back, events, ids, new_id, problem_in, read, told
from tests.databases import age_missing

FIRST = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
"""When the oldest of the filled store was created; the others follow a minute apart."""


@dataclass
class Filled:
    """A service whose store holds what the tests know; they leave it as it is."""

    running: Running
    shown: dict[str, dict[str, Any]]
    """Every generation of the store but the gone one, by id."""
    gone: str

    def page(self, **parameters: Any) -> httpx.Response:
        """The whole answer."""
        return self.running.http.get("/v1/generations", params=parameters)

    def found(self, **parameters: Any) -> list[str]:
        """What is listed, in its order."""
        answer = self.page(**{"limit": 200, **parameters})
        assert answer.status_code == 200, answer.text
        return ids(answer.json()["items"])

    def matching(self, test: Callable[[dict[str, Any]], object]) -> set[str]:
        """The ids of those for which `test` is true."""
        return {each for each, shown in self.shown.items() if test(shown)}


def _z(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _request(operation: str, **given: Any) -> dict[str, Any]:
    return {**body_of("x", "queued", operation)["request"], **given}


def _tell_luma_s_side(running: Running) -> Iterator[str]:
    """Fourteen by callback, some of them created in the same moment."""
    kinds = [
        ("queued", "video", {"prompt": "A Lake at sunset"}, "ray-2"),
        ("dreaming", "video", {"prompt": "100% wool_scarf"}, "ray-flash-2"),
        ("completed", "video", {"prompt": "a lake in winter"}, "ray-2"),
        ("failed", "video", {"prompt": "too violent"}, "ray-2"),
        ("completed", "image", {"prompt": "man as a warrior"}, "photon-1"),
        ("completed", "upscale_video", {}, "ray-2"),
        ("failed", "image", {"prompt": "Überfall am See"}, "photon-flash-1"),
    ]
    for number in range(14):
        state, operation, asked, model = kinds[number % len(kinds)]
        at = FIRST + timedelta(minutes=number // 3)  # three share a minute
        yield told(
            running,
            state,
            operation,
            created_at=_z(at),
            model=model,
            request=_request(operation, **asked),
        )


def _gone(running: Running) -> str:
    """One that Luma knew, and knows no longer."""
    gone = running.luma.create()
    read(running, gone)
    with LumaAI(base_url=running.luma.dream_machine_url, auth_token="luma-key") as client:
        client.generations.delete(gone)
    age_missing(running.database, gone, lambda: read(running, gone, fresh=True))
    assert read(running, gone, fresh=True)["gone_at"]
    return gone


def _fill(running: Running) -> Filled:
    made = [running.luma.create("image", upstream="agents", model="uni-1") for _ in range(3)]
    refused = Plan(outcome="failed", failure_reason="No.", failure_code="content_moderated")
    made.append(running.luma.create("video", upstream="agents", plan=refused))
    running.luma.advance(60)
    for each in made:
        read(running, each)
    gone = _gone(running)
    # From here on Luma wants to be left alone, so that the store stays as it is told.
    running.luma.fault(Fault(status=503, headers={"Retry-After": "3600"}, times=None))
    made += _tell_luma_s_side(running)
    unmade = new_id()
    call_back(running, {"id": unmade, "state": "dreaming"})  # Luma has not told when it began
    return Filled(running, {each: read(running, each) for each in [*made, unmade]}, gone)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with run_service(tmp_path_factory.mktemp("filled")) as running:
        yield _fill(running)


# What a list is


def test_a_list_shows_the_same_objects_as_the_lookup(filled: Filled) -> None:
    answer = filled.page(limit=200)

    assert answer.headers["content-type"] == "application/json"
    listed = answer.json()
    assert listed.keys() == {"items", "next_cursor", "has_more"}
    assert {item["id"]: item for item in listed["items"]} == filled.shown
    assert (listed["next_cursor"], listed["has_more"]) == (None, False)
    assert "link" not in answer.headers


def test_a_list_costs_luma_nothing(filled: Filled) -> None:
    before = filled.running.luma.count()

    filled.page(), filled.page(state="dreaming"), filled.page(id=new_id())

    assert filled.running.luma.count() == before


def test_a_list_of_nothing_is_an_empty_page(filled: Filled) -> None:
    answer = filled.page(model="none-such")

    assert answer.json() == {"items": [], "next_cursor": None, "has_more": False}


# Filters


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("state", ["completed"]),
        ("state", ["completed", "failed"]),
        ("state", ["none-such"]),
        ("upstream", ["agents"]),
        ("upstream", ["dream_machine"]),
        ("upstream", ["agents", "dream_machine"]),
        ("generation_type", ["image"]),
        ("operation", ["upscale_video"]),
        ("operation", ["upscale_video", "image"]),
        ("model", ["ray-flash-2", "photon-1"]),
    ],
)
def test_within_one_filter_any_value_will_do(filled: Filled, field: str, values: list[str]) -> None:
    expected = filled.matching(lambda shown: shown[field] in values)

    assert set(filled.found(**{field: values})) == expected
    assert len(expected) < len(filled.shown) or values == ["agents", "dream_machine"]


def test_ids_can_be_asked_for_together(filled: Filled) -> None:
    some = sorted(filled.shown)[:4]

    assert set(filled.found(id=[*some, new_id()])) == set(some)


def test_all_filters_must_hold(filled: Filled) -> None:
    listed = filled.found(state=["completed", "failed"], upstream="agents", model="uni-1", q="lake")

    assert set(listed) == filled.matching(
        lambda shown: (
            shown["terminal"]
            and shown["upstream"] == "agents"
            and shown["model"] == "uni-1"
            and "lake" in (shown["prompt"] or "")
        )
    )
    video = filled.found(state="completed", operation="video", q="lake")
    assert len(video) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lake", r"(?i)lake"),
        ("LAKE sunset", r"(?i)lake.*sunset"),
        ("sunset lake", r"(?i)lake.*sunset"),
        ("  lake   ", r"(?i)lake"),
        ("100%", r"100%"),
        ("l_scarf", r"l_scarf"),
        ("a%e", r"a%e"),
        ("\\", r"\\"),
        ("none-such", r"none-such"),
    ],
)
def test_q_finds_words_of_the_prompt(filled: Filled, words: str, expected: str) -> None:
    matching = filled.matching(lambda shown: re.search(expected, shown["prompt"] or ""))

    assert set(filled.found(q=words)) == matching


def test_q_finds_words_beyond_ascii_whatever_their_case(filled: Filled) -> None:
    matching = filled.matching(lambda shown: "Überfall" in (shown["prompt"] or ""))
    assert matching

    assert set(filled.found(q="Überfall")) == matching
    assert set(filled.found(q="überfall")) == matching


def test_q_finds_words_of_the_failure_and_of_the_id(filled: Filled) -> None:
    assert set(filled.found(q="moderation")) == filled.matching(
        lambda shown: "moderation" in (shown["failure_reason"] or "")
    )
    assert set(filled.found(q="content_moderated")) == filled.matching(
        lambda shown: shown["failure_code"] == "content_moderated"
    )
    one = next(iter(filled.shown))
    assert filled.found(q=one[:13]) == [one]


def test_an_empty_q_asks_for_everything(filled: Filled) -> None:
    assert set(filled.found(q="")) == set(filled.shown)


@pytest.mark.parametrize(
    "written",
    ["2026-03-01T12:02:00Z", "2026-03-01T12:02:00", "2026-03-01T14:02:00+02:00", "1772366520"],
)
def test_the_time_of_creation_is_a_filter_in_any_usual_form(filled: Filled, written: str) -> None:
    at = _z(FIRST + timedelta(minutes=2))
    known = filled.matching(lambda shown: shown["created_at"])

    after, before = (
        set(filled.found(created_after=written)),
        set(filled.found(created_before=written)),
    )

    assert after & known == filled.matching(lambda s: s["created_at"] and s["created_at"] > at)
    assert before == filled.matching(lambda s: s["created_at"] and s["created_at"] < at)
    assert after
    assert before


def test_a_span_of_time_is_asked_for_with_both(filled: Filled) -> None:
    start, end = _z(FIRST), _z(FIRST + timedelta(minutes=3))

    assert set(filled.found(created_after=start, created_before=end)) == filled.matching(
        lambda shown: shown["created_at"] and start < shown["created_at"] < end
    )


def test_what_is_gone_is_listed_only_on_request(filled: Filled) -> None:
    assert filled.gone not in filled.found()
    assert set(filled.found(gone="true")) == {*filled.shown, filled.gone}
    assert filled.found(id=filled.gone) == []
    assert filled.found(id=filled.gone, gone="true") == [filled.gone]


# Order


def _in_order(filled: Filled, sort: str) -> list[str]:
    """What the order should be; what Luma has not dated counts from when we first saw it."""
    key = sort.removeprefix("-")

    def place(shown: dict[str, Any]) -> tuple[str, str]:
        return shown[key] or shown["first_seen_at"], shown["id"]

    return ids(sorted(filled.shown.values(), key=place, reverse=sort.startswith("-")))


SORTS = ["-created_at", "created_at", "-updated_at", "updated_at"]


@pytest.mark.parametrize("sort", SORTS)
def test_a_list_can_be_had_in_four_orders(filled: Filled, sort: str) -> None:
    assert filled.found(sort=sort) == _in_order(filled, sort)


def test_the_newest_come_first_unless_told_otherwise(filled: Filled) -> None:
    assert filled.found() == _in_order(filled, "-created_at")


# Pages


def _pages(filled: Filled, **parameters: Any) -> list[list[str]]:
    """Every page, by `next_cursor`."""
    pages, cursor = [], None
    while True:
        more: dict[str, str] = {"cursor": cursor} if cursor else {}
        answer = filled.page(**parameters, **more)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["has_more"] is (page["next_cursor"] is not None)
        pages.append(ids(page["items"]))
        if not page["has_more"]:
            return pages
        cursor = page["next_cursor"]


@pytest.mark.parametrize("limit", [1, 4, 7, 200])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_together_are_the_whole_list(filled: Filled, sort: str, limit: int) -> None:
    pages = _pages(filled, sort=sort, limit=limit)

    assert all(len(page) == limit for page in pages[:-1])
    assert [each for page in pages for each in page] == _in_order(filled, sort)


def test_a_last_page_that_is_full_promises_no_other(filled: Filled) -> None:
    assert len(_pages(filled, limit=len(filled.shown))) == 1


def test_pages_keep_to_their_filters(filled: Filled) -> None:
    pages = _pages(filled, state="completed", limit=2)

    assert [e for page in pages for e in page] == filled.found(state="completed")


def test_the_link_header_leads_through_all_pages(filled: Filled) -> None:
    wanted = {"limit": "5", "sort": "created_at", "upstream": ["agents", "dream_machine"], "q": ""}
    answer = filled.page(**wanted)
    seen = ids(answer.json()["items"])
    while "link" in answer.headers:
        found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers["link"])
        assert found, answer.headers["link"]
        answer = filled.running.http.get(found[1])
        assert answer.status_code == 200, answer.text
        seen += ids(answer.json()["items"])

    assert seen == _in_order(filled, "created_at")


def test_what_comes_in_between_two_pages_neither_shifts_nor_repeats_the_rest(
    shared: Running,
) -> None:
    ours = new_id()  # as a model that no other test lists

    def made(after: timedelta) -> str:
        return told(shared, model=ours, created_at=_z(FIRST + after))

    old = {made(timedelta(minutes=number)) for number in range(6)}
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        more: dict[str, str] = {"cursor": cursor} if cursor else {}
        page = shared.http.get("/v1/generations", params={"model": ours, "limit": 2, **more}).json()
        seen += ids(page["items"])
        cursor = page["next_cursor"]
        made(timedelta(hours=1))  # newer than all

    assert len(seen) == 6
    assert set(seen) == old


# What cannot be answered


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"nope": "1"}, "nope"),
        ({"State": "completed"}, "State"),
        ({"offset": "5"}, "offset"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"sort": "prompt"}, "sort"),
        ({"sort": "+created_at"}, "sort"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": "2026-13-01"}, "created_before"),
        ({"gone": "perhaps"}, "gone"),
        ({"cursor": "none-such"}, "cursor"),
        ({"cursor": "%%%"}, "cursor"),
        ({"cursor": "ä"}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "x" * 5000}, "cursor"),
    ],
    ids=str,
)
def test_a_parameter_that_makes_no_sense_is_named_in_a_422(
    filled: Filled, parameters: dict[str, str], named: str
) -> None:
    problem = problem_in(filled.page(**parameters), 422)

    assert named in problem["detail"]
    assert named in str(problem["errors"])


def test_a_cursor_belongs_to_its_order(filled: Filled) -> None:
    cursor = filled.page(limit=2, sort="created_at").json()["next_cursor"]

    assert filled.page(limit=2, sort="created_at", cursor=cursor).status_code == 200
    for sort in ("-created_at", "updated_at"):
        problem_in(filled.page(limit=2, sort=sort, cursor=cursor), 422)
    problem_in(filled.page(limit=2, sort="created_at", cursor=cursor[:20]), 422)


# History


def test_the_history_of_a_generation_is_told_oldest_first(shared: Running) -> None:
    generation_id = shared.luma.create(callback_url=shared.callback_url)
    read(shared, generation_id)
    shared.luma.advance(60)

    answer = shared.http.get(f"/v1/generations/{generation_id}/events")

    assert answer.status_code == 200
    history = answer.json()
    assert history.keys() == {"items", "next_cursor", "has_more"}
    assert (history["next_cursor"], history["has_more"]) == (None, False)
    items = history["items"]
    keys = {"seq", "generation_id", "from_state", "to_state", "rev", "source", "at", "delivery_id"}
    assert [item.keys() for item in items] == [keys] * 3
    assert {item["generation_id"] for item in items} == {generation_id}
    states = [(item["from_state"], item["to_state"]) for item in items]
    assert states == [(None, "queued"), ("queued", "dreaming"), ("dreaming", "completed")]
    assert [item["seq"] for item in items] == sorted(item["seq"] for item in items)
    assert [item["rev"] for item in items] == [1, 2, 3]
    assert [item["source"] for item in items] == ["fetch", "callback", "callback"]
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    assert items[0]["delivery_id"] is None
    assert items[1]["delivery_id"] != items[2]["delivery_id"]
    assert items[-1]["at"] == read(shared, generation_id)["updated_at"]


def test_what_changed_nothing_leaves_no_event(shared: Running) -> None:
    generation_id = told(shared, "completed")
    call_back(shared, body_of(generation_id, "completed"))
    call_back(shared, body_of(generation_id, "dreaming"))

    assert [event["to_state"] for event in events(shared, generation_id)] == ["completed"]


def test_a_long_history_comes_in_pages(shared: Running) -> None:
    generation_id = told(shared, "queued")
    for number in range(4):
        reason = {"assets": {"progress_video": f"https://v.example/{number}.mp4"}}
        call_back(shared, body_of(generation_id, "dreaming", **reason))
    whole = events(shared, generation_id)
    assert len(whole) == 5

    path, seen, cursor = f"/v1/generations/{generation_id}/events", [], None
    for size in (2, 2, 1):
        more: dict[str, str] = {"cursor": cursor} if cursor else {}
        page = shared.http.get(path, params={"limit": 2, **more}).json()
        assert len(page["items"]) == size
        seen += page["items"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)

    assert seen == whole
    assert cursor is None


def test_the_history_of_what_is_not_stored_is_404(shared: Running) -> None:
    generation_id = new_id()

    problem_in(shared.http.get(f"/v1/generations/{generation_id}/events"), 404)

    assert shared.luma.count("GET", generation_id) == 0


@pytest.mark.parametrize(
    "parameters", [{"nope": 1}, {"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"cursor": -1}]
)
def test_a_bad_parameter_of_the_history_is_422(shared: Running, parameters: dict[str, Any]) -> None:
    answer = shared.http.get(f"/v1/generations/{told(shared)}/events", params=parameters)

    assert next(iter(parameters)) in problem_in(answer, 422)["detail"]


def test_the_history_of_an_id_that_cannot_be_is_422(shared: Running) -> None:
    problem_in(shared.http.get("/v1/generations/a%20b/events"), 422)
