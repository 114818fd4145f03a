"""It says when something is wrong: in the log, in /metrics, and in /readyz."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.simulator import Fault
from tests.databases import at, curse, execute, lift, locked
from tests.hostile import PROBLEM, Target, target
from tests.test_logs import fields
from tests.waiting import until

pytestmark = pytest.mark.either_database


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service that asks Luma; what it has counted before is taken off."""
    rates = {"TRACKER_DREAM_MACHINE_RATE": "1000/second", "TRACKER_AGENTS_RATE": "1000/second"}
    with target(tmp_path_factory.mktemp("watched"), **rates) as one:
        yield one


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One without keys, so that only callbacks do anything."""
    given = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": ""}
    with target(tmp_path_factory.mktemp("alone"), **given) as one:
        yield one


def _events(running: Target, event: str) -> list[dict[str, str]]:
    """The log lines of one kind; every line of the log must be logfmt."""
    lines = [fields(line) for line in running.service.said.splitlines()]
    return [line for line in lines if line["event"] == event]


class Since:
    """How far counters have moved since this was made."""

    def __init__(self, running: Target) -> None:
        self._running = running
        self._before = self._samples()

    def __call__(self, name: str, **labels: str) -> float:
        """By how much one has."""
        key = (f"luma_tracker_{name}", tuple(sorted(labels.items())))
        return self._samples().get(key, 0) - self._before.get(key, 0)

    def _samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = self._running.http.get("/metrics").text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def test_metrics_are_what_prometheus_reads(running: Target) -> None:
    answer = running.http.get("/metrics")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {
        *("luma_tracker_callbacks", "luma_tracker_lookups", "luma_tracker_upstream_requests"),
        *("luma_tracker_repairs", "luma_tracker_overruled", "luma_tracker_breaker_open"),
        *("luma_tracker_budget_left", "luma_tracker_inbox_lag_seconds", "luma_tracker_refusals"),
        *("luma_tracker_pruned", "luma_tracker_commit_seconds", "luma_tracker_commit_writes"),
    } <= families


def test_callbacks_are_counted_by_their_outcome(alone: Target) -> None:
    moved = Since(alone)
    completed = {"id": "a", "state": "completed", "assets": {"video": "https://x/y"}}
    said = [{"id": "a", "state": "dreaming"}, completed, completed, {"id": "a", "state": "queued"}]
    for body in said:
        alone.call_back(body)
    alone.call_back(b"no generation")
    alone.http.post("/callbacks/wrong", content=b"{}")
    counted = {
        outcome: moved("callbacks_total", outcome=outcome)
        for outcome in ("applied", "unchanged", "stale", "unreadable", "kept")
    }
    assert counted == {"applied": 2, "unchanged": 1, "stale": 1, "unreadable": 1, "kept": 0}
    assert moved("refusals_total", reason="callback token") == 1
    assert moved("commit_writes_count") >= 5


def test_lookups_are_counted_by_where_the_answer_came_from(running: Target) -> None:
    moved = Since(running)
    running.luma.create(id="looked-up")
    for path in ("looked-up", "looked-up", "looked-up?fresh=true", "unknown", ".a b"):
        running.http.get(f"/v1/generations/{path}")
    counted = {served: moved("lookups_total", served=served) for served in ("hit", "miss", "stale")}
    assert counted == {"hit": 1, "miss": 1, "stale": 1}


def test_refusals_are_counted_by_their_reason(running: Target) -> None:
    moved = Since(running)
    running.http.get("/v1/generations", headers={"Host": "evil.example"})
    running.http.post("/mcp", headers={"Origin": "https://evil.example"})
    assert moved("refusals_total", reason="421") == 1
    assert moved("refusals_total", reason="403") == 1


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (None, "ok"),
        (Fault(path="/dream-machine", status=404), "notfound"),
        (Fault(path="/dream-machine", status=401), "refused"),
        (Fault(path="/dream-machine", status=500), "unavailable"),
        (Fault(path="/dream-machine", drop=True), "unavailable"),
        (Fault(path="/dream-machine", status=302), "nonsense"),
        (Fault(path="/dream-machine", body=b"<html>"), "nonsense"),
    ],
    ids=["good", "404", "401", "500", "dropped", "302", "HTML"],
)
def test_requests_to_luma_are_counted_by_purpose_and_result(
    running: Target, fault: Fault | None, result: str
) -> None:
    generation_id, moved = running.luma.create(), Since(running)
    if fault:
        running.luma.fault(fault)
    running.http.get(f"/v1/generations/{generation_id}")
    spent = moved(
        "upstream_requests_total", upstream="dream_machine", purpose="read", result=result
    )
    assert spent == 1


def test_an_upstream_that_says_when_opens_its_breaker_and_spends_its_budget(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with target(
        tmp_path_factory.mktemp("limited"),
        LUMA_AGENTS_API_KEY="",
        TRACKER_DREAM_MACHINE_RATE="5/second",
    ) as running:
        labels = {"upstream": "dream_machine"}
        assert running.metric("luma_tracker_breaker_open", **labels) == 0
        assert running.metric("luma_tracker_budget_left", **labels) == 5
        running.luma.fault(Fault(status=429, headers={"Retry-After": "30"}))
        answer = running.http.get("/v1/generations/limited")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 20
        assert running.metric("luma_tracker_breaker_open", **labels) == 1
        assert running.metric("luma_tracker_budget_left", **labels) in (4, 5)  # a second later: 5
        assert running.http.get("/readyz").status_code == 200  # it is Luma that is down, not we


def test_a_claim_that_luma_does_not_confirm_is_overruled_counted_and_logged(
    running: Target,
) -> None:
    moved = Since(running)
    running.luma.create(id="claimed")
    running.call_back({"id": "claimed", "state": "completed", "assets": {"video": "https://x/"}})
    until(lambda: moved("overruled_total") == 1)
    [line] = [each for each in _events(running, "claim_overruled") if each["claimed"]]
    assert line["level"] == "warning"
    assert line["generation_id"] == "claimed"
    assert (line["claimed"], line["state"]) == ("completed", "queued")
    labels = {"upstream": "dream_machine", "purpose": "verify", "result": "ok"}
    assert moved("upstream_requests_total", **labels) == 1
    assert [e for e in _events(running, "final_state_found") if "claimed" in e.values()] == []


def test_a_terminal_state_that_had_to_be_asked_for_is_a_repair_counted_and_logged(
    running: Target,
) -> None:
    """Luma's clock is far behind ours here, so that an open row is due after two seconds."""
    moved = Since(running)
    running.luma.create(id="forgotten")
    assert running.http.get("/v1/generations/forgotten").json()["state"] == "queued"
    running.luma.advance(120)
    until(lambda: any("forgotten" in e.values() for e in _events(running, "final_state_found")))
    line = next(e for e in _events(running, "final_state_found") if "forgotten" in e.values())
    assert moved("repairs_total") >= 1  # other tests leave open rows behind
    assert line["state"] == "completed"
    labels = {"upstream": "dream_machine", "purpose": "reconcile", "result": "ok"}
    assert moved("upstream_requests_total", **labels) >= 1


def test_what_could_not_be_read_is_logged_with_its_delivery(alone: Target) -> None:
    alone.call_back(b"nothing that can be read")
    [delivery] = alone.http.get("/v1/deliveries?limit=1").json()["items"]
    [line] = [each for each in _events(alone, "delivery_kept") if delivery["id"] in each.values()]
    assert line["level"] == "warning"
    assert line["delivery_id"] == delivery["id"]


def test_what_cannot_be_folded_is_said_on_every_channel_until_it_is(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    given = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": ""}
    with target(tmp_path_factory.mktemp("stuck"), **given) as stuck:
        delivery_id = _stuck(stuck)
        long_ago = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%d %H:%M:%S.%f}"
        execute(stuck.database, "UPDATE deliveries SET received_at = ?", long_ago)
        late = stuck.http.get("/readyz")
        assert late.status_code == 503
        assert late.headers["content-type"] == PROBLEM
        assert int(late.headers["retry-after"]) >= 1
        assert "kept" in late.json()["hint"]
        assert stuck.http.get("/healthz").status_code == 200

        _start_anew(stuck)  # which looks at the inbox at once
        until(lambda: stuck.metric("luma_tracker_inbox_lag_seconds") > 3600)
        assert stuck.http.get("/readyz").status_code == 200, "it was tried again, in vain"
        with at(stuck.database) as database:
            lift(database)

        _start_anew(stuck)
        until(lambda: stuck.http.get("/readyz").status_code == 200)
        until(lambda: _events(stuck, "delivery_replayed"))
        line = _events(stuck, "delivery_replayed")[-1]
        assert stuck.metric("luma_tracker_inbox_lag_seconds") == 0
        assert (line["delivery_id"], line["outcome"]) == (delivery_id, "applied")
        assert line["generation_id"] == "stuck"


def _stuck(running: Target) -> str:
    """Have a callback that cannot be folded, and look at what is said of it."""
    with at(running.database) as database:
        curse(database)
    answer = running.call_back({"id": "stuck", "state": "dreaming"})
    [shown] = running.http.get("/v1/deliveries?outcome=kept").json()["items"]
    delivery_id = str(shown["id"])
    assert answer.json() == {"outcome": "kept"}
    assert shown["generation_id"] == "stuck"
    assert "cursed" in shown["error"]
    assert running.metric("luma_tracker_callbacks_total", outcome="kept") == 1
    for event, level in (("fold_failed", "error"), ("delivery_kept", "warning")):
        line = _events(running, event)[0]
        assert line["level"] == level
        assert (line["delivery_id"], line["generation_id"]) == (delivery_id, "stuck")
    assert running.http.get("/readyz").status_code == 200  # it may still come right
    return delivery_id


def _start_anew(running: Target) -> None:
    """Restart it; it comes back on another port."""
    running.service.stop()
    running.service.start()
    running.http.base_url = httpx.URL(running.service.url)


def test_a_database_that_lags_behind_this_version_is_not_ready(alone: Target) -> None:
    assert alone.http.get("/readyz").json() == {"ready": True, "callbacks": False}
    execute(alone.database, "UPDATE alembic_version SET version_num = '0' || version_num")
    behind = alone.http.get("/readyz")
    execute(alone.database, "UPDATE alembic_version SET version_num = substr(version_num, 2)")
    assert behind.status_code == 503
    assert "db upgrade" in behind.json()["hint"]
    assert alone.http.get("/readyz").status_code == 200


def test_a_database_that_fails_is_logged_and_a_callback_that_was_lost_to_it_counted(
    alone: Target,
) -> None:
    """Each such callback is one that Luma gives up after four attempts: it must show."""
    before = _counted(alone)
    with locked(alone.database):
        refused = alone.call_back({"id": "locked-out", "state": "dreaming"})
    assert refused.status_code == 503
    assert _events(alone, "database_failed")[0]["level"] == "error"
    assert _counted(alone) == before + 1


def _counted(running: Target) -> float:
    """All callbacks that were answered or refused, whatever the outcome or reason."""
    families = text_string_to_metric_families(running.http.get("/metrics").text)
    wanted = ("luma_tracker_callbacks_total", "luma_tracker_refusals_total")
    return sum(s.value for family in families for s in family.samples if s.name in wanted)


def test_every_line_of_a_run_is_logfmt_and_the_first_ones_say_how_it_runs(running: Target) -> None:
    """Of one that has been through the tests before, wherever this one stands among them."""
    running.call_back(b"\0\n\r\x1b[31m level=error event=forged")
    running.http.get("/v1/generations/%0aevent=forged")
    lines = [fields(line) for line in running.service.said.splitlines()]
    begun = {line["event"]: line for line in lines}
    assert begun["listening"]["url"] == running.service.url
    assert begun["configured"]["upstreams"] == "dream_machine,agents"
    assert "TRACKER_PUBLIC_URL" in begun["callbacks_disabled"]["hint"]
    assert "forged" not in begun
