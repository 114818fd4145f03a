"""The arithmetic of the benchmarks, and that they find out what was lost; no times."""

import asyncio
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import wrk
from benchmarks.asking import Request, Wrong, ask
from benchmarks.bound import best
from benchmarks.callbacks import Storms, against_naive, wrong
from benchmarks.finding import Finding, Row, by_cost, by_cpu, by_rate
from benchmarks.polling import LIMIT, InTurn, simulate
from benchmarks.processes import NotStarted
from benchmarks.results import refused, table
from benchmarks.rows import ROWS
from benchmarks.schedule import Schedule, learn
from benchmarks.slices import Comparison, Slice, interleave
from benchmarks.stage import CALLBACK, Stage
from benchmarks.stored import balance
from benchmarks.storm import Same
from benchmarks.tools import HANDSHAKE, MODERN, captured


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """In small, and over at once."""
    with Stage(quick=True) as opened:
        opened.times, opened.seconds = 1, 0.1
        yield opened


def of(figure: float, *, least: bool = True, floor: float | None = 0.8, fault: str = "") -> str:
    row = Row("it", "", "", lambda _: Finding(figure, "", ""), 0.9, floor, least=least)
    return row.refused(Finding(figure, "", "", fault=fault))


def test_a_row_below_its_floor_is_refused() -> None:
    assert of(0.8) == ""
    assert of(0.79) == "it: 0.79 ×, wanted ≥ 0.8 ×"
    assert of(0.79, least=False) == ""
    assert of(0.81, least=False) == "it: 0.81 ×, wanted ≤ 0.8 ×"
    assert of(0.0, floor=None) == ""
    assert of(9.0, fault="1 lost") == "it: 1 lost", "however fast it was"


def test_neighbouring_slices_are_compared() -> None:
    ours = [Slice(30, 1.0, 0.1), Slice(60, 1.0, 0.1), Slice(1, 1.0, 0.1)]
    peer = [Slice(10, 1.0, 0.1), Slice(10, 0.5, 0.1), Slice(10, 1.0, 0.1)]

    compared = Comparison(ours, peer)

    assert compared.by_rate == 3.0
    assert compared.by_cost == pytest.approx(3.0)
    assert by_rate(compared).figure == 3.0
    assert by_cpu(compared).figure == pytest.approx(3.0)
    assert by_cost(compared).figure == pytest.approx(1 / 3)


def test_without_a_measure_of_cpu_the_rates_remain() -> None:
    compared = Comparison([Slice(30, 1.0, None)], [Slice(10, 1.0, None)])

    assert compared.by_cost is None
    assert by_cpu(compared).figure == 3.0
    assert by_cost(compared).figure == pytest.approx(1 / 3)


def test_slices_are_taken_in_turn() -> None:
    taken: list[str] = []

    def load(name: str) -> Slice:
        taken.append(name)
        return Slice(1, 1.0, None)

    interleave(lambda: load("ours"), lambda: load("peer"), 3)

    assert taken == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]


def test_what_was_answered_is_held_against_what_is_stored_one_by_one() -> None:
    assert balance({"a": 2, "b": 1}, {"a": 2, "b": 1}).exact
    swapped = balance({"a": 2, "b": 1}, {"a": 1, "b": 2})
    assert (swapped.answered, swapped.stored, swapped.lost, swapped.extra) == (3, 3, 1, 1)
    assert not balance({"a": 1}, {}).exact
    assert not balance({}, {"a": 1}).exact


@pytest.mark.thorough
def test_a_storm_is_answered_and_stored_exactly(stage: Stage) -> None:
    found = against_naive(stage)

    assert found.fault == ""
    assert "answered and stored, 0 refused; naive" in found.other
    assert "0 answered" not in found.other.split()


@pytest.mark.thorough
def test_a_lost_delivery_and_a_lost_change_are_found_out(stage: Stage) -> None:
    storm = Storms(stage, stage.receiving, CALLBACK, 2, "lossy")
    storm()
    assert storm.total.errors == 0
    assert wrong(storm) == ""

    some = min(storm.total.taken)
    with closing(sqlite3.connect(stage.receiving.folder / "tracker.db")) as database, database:
        database.execute("DELETE FROM deliveries WHERE generation_id = ?", (some,))
        database.execute("UPDATE generations SET state = 'dreaming' WHERE id = ?", (some,))

    assert "inbox:" in wrong(storm)
    assert "2 of them lost" in wrong(storm)
    assert "rows:" in wrong(storm)
    assert "1 of them lost" in wrong(storm)


@pytest.mark.thorough
def test_refused_callbacks_are_a_fault(stage: Stage) -> None:
    storm = Storms(stage, stage.receiving, "/callbacks/wrong", 2, "refused")
    storm()

    assert storm.total.statuses.keys() == {404}
    assert "callbacks refused" in wrong(storm)


@pytest.mark.thorough
def test_the_raw_peer_answers_what_we_do(stage: Stage) -> None:
    raw = ask(stage.raw.url, stage.reading)

    assert raw.body == stage.shown.body
    ours = Counter(name.lower() for name, _ in stage.shown.headers)
    assert Counter(name.lower() for name, _ in raw.headers) == ours


@pytest.mark.thorough
def test_both_loads_send_the_whole_request(stage: Stage) -> None:
    call = asyncio.run(captured(stage.ours.url, HANDSHAKE, stage.generation_id))
    own = stage.blow(Same(stage.ours.url, 2, 0.1, call))
    assert own.statuses.keys() == {200}
    if wrk.installed():
        told = wrk.run(stage.ours.url, call, 2, 0.2)
        assert told.requests > 0
        assert told.errors == 0
    with pytest.raises(Wrong, match=r"401, not 200"):
        ask(stage.ours.url, Request(stage.reading.path))


def test_calls_of_both_eras_are_what_the_client_sends(stage: Stage) -> None:
    then, now = (
        asyncio.run(captured(stage.ours.url, era, stage.generation_id))
        for era in (HANDSHAKE, MODERN)
    )

    assert then.headers["mcp-protocol-version"] == "2025-11-25"
    assert now.headers["mcp-protocol-version"] == "2026-07-28"
    assert now.headers["mcp-name"] == "get_generation"
    for call in (then, now):
        assert stage.generation_id.encode() in ask(stage.ours.url, call).body


@pytest.mark.thorough
def test_a_server_that_does_not_start_says_why(stage: Stage) -> None:
    with (
        pytest.raises(NotStarted, match="TRACKER_STALE_AFTER"),
        stage.service("wrong", TRACKER_STALE_AFTER="none"),
    ):
        pass


def test_every_row_is_in_the_table_and_in_the_picture(tmp_path: Path) -> None:
    from benchmarks.drawing import draw  # brings matplotlib

    found = {row.name: Finding(row.target, "a", "b") for row in ROWS}
    lines = table({**found, ROWS[0].name: "there is none"})

    assert len(lines) == 2 + len(ROWS) == 2 + len(found), "names are given once"
    assert "skipped" in lines[2]
    assert refused(found) == [], "every target is above its floor"
    draw(tmp_path / "results.svg", [(row, found[row.name]) for row in ROWS])
    drawn = (tmp_path / "results.svg").read_text()
    assert all(row.name in drawn for row in ROWS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "known", "most"),
    [
        (5, 300, 1.5),
        pytest.param(50, 200, 1.5, marks=pytest.mark.thorough),
        pytest.param(500, 100, 1.1, marks=pytest.mark.thorough),
    ],
)
def test_the_schedule_is_near_the_best_that_the_limit_allows(
    number: int, known: int, most: float
) -> None:
    """Medians; the bound knows the distributions, the schedule has seen 200 generations."""
    random.seed(1)  # it decides in which buckets durations are counted
    found = simulate(Schedule(learn(200, seed=1)), number, known, seed=2)
    assert found.quantile(0.5) < most * best(number, LIMIT / 60).median


@pytest.mark.thorough
def test_with_few_open_generations_the_schedule_halves_the_delay() -> None:
    """Against asking about all in turn, at the same rate; nothing was learnt before."""
    random.seed(1)
    schedule, in_turn = Schedule(defaultdict(Counter)), InTurn()
    found = [simulate(policy, 5, known=300, seed=2).mean for policy in (schedule, in_turn)]
    assert found[0] < 0.75 * found[1]
