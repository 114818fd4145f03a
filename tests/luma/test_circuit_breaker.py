"""The circuit breaker: it pauses a failing upstream, and probes it with one request."""

import pytest

from service.luma.circuit_breaker import CircuitBreaker
from tests.seconds import Seconds

FIRST, LONGEST, JITTER = 2.0, 60.0, 0.2


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def breaker(seconds: Seconds) -> CircuitBreaker:
    return CircuitBreaker(seconds)


def fail(breaker: CircuitBreaker, times: int) -> None:
    """Record failed requests, one after the other."""
    for _ in range(times):
        breaker.record_failure(breaker.begin())


def pass_time(breaker: CircuitBreaker, seconds: Seconds) -> float:
    """Advance the clock until a request may be made; returns by how many seconds."""
    pause = breaker.resumes_in()
    seconds.now += pause
    return pause


def about(pause: float) -> object:
    """Return the pause with a tolerance for its jitter."""
    return pytest.approx(pause, rel=JITTER + 1e-9)


def test_a_new_breaker_is_closed(breaker: CircuitBreaker) -> None:
    assert not breaker.is_open
    assert breaker.resumes_in() == 0


def test_four_failures_are_borne(breaker: CircuitBreaker) -> None:
    fail(breaker, 4)
    assert not breaker.is_open


def test_the_fifth_failure_in_a_row_opens_it_for_about_two_seconds(breaker: CircuitBreaker) -> None:
    fail(breaker, 5)
    assert breaker.is_open
    assert breaker.resumes_in() == about(FIRST)


def test_failures_that_are_not_in_a_row_do_not_open_it(breaker: CircuitBreaker) -> None:
    for _ in range(20):
        fail(breaker, 4)
        breaker.record_success(breaker.begin())
    assert not breaker.is_open


def test_it_stays_open_until_the_pause_is_over(breaker: CircuitBreaker, seconds: Seconds) -> None:
    fail(breaker, 5)
    pause = breaker.resumes_in()
    seconds.now += pause - 0.001
    assert breaker.is_open
    seconds.now += 0.001
    assert not breaker.is_open


def test_after_the_pause_one_request_probes_and_the_others_wait(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    fail(breaker, 5)
    pass_time(breaker, seconds)
    breaker.begin()
    assert breaker.is_open


def test_a_probe_that_succeeds_closes_it(breaker: CircuitBreaker, seconds: Seconds) -> None:
    fail(breaker, 5)
    pass_time(breaker, seconds)
    breaker.record_success(breaker.begin())
    assert not breaker.is_open
    fail(breaker, 4)
    assert not breaker.is_open  # the count restarts


def test_a_probe_that_fails_opens_it_for_twice_as_long(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    fail(breaker, 5)
    pass_time(breaker, seconds)
    epoch = breaker.begin()
    seconds.now += 0.1
    breaker.record_failure(epoch)
    assert breaker.resumes_in() == about(2 * FIRST)


def test_the_pause_doubles_up_to_a_minute_and_no_further(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    fail(breaker, 5)
    pauses = []
    for _ in range(9):
        pauses.append(pass_time(breaker, seconds))
        breaker.record_failure(breaker.begin())
    expected = [min(FIRST * 2**n, LONGEST) for n in range(9)]
    assert pauses == [about(pause) for pause in expected]


def test_after_a_success_the_pauses_begin_small_again(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    fail(breaker, 5)
    for _ in range(4):
        pass_time(breaker, seconds)
        fail(breaker, 1)
    pass_time(breaker, seconds)
    breaker.record_success(breaker.begin())
    fail(breaker, 5)
    assert breaker.resumes_in() == about(FIRST)


def test_pauses_are_jittered(seconds: Seconds) -> None:
    pauses = set()
    for _ in range(20):
        breaker = CircuitBreaker(seconds)
        fail(breaker, 5)
        pauses.add(breaker.resumes_in())
    assert len(pauses) == 20


def test_it_pauses_for_as_long_as_it_is_told(breaker: CircuitBreaker, seconds: Seconds) -> None:
    breaker.begin()
    breaker.pause(12)
    assert breaker.resumes_in() == pytest.approx(12)
    seconds.now += 11.9
    assert breaker.is_open
    seconds.now += 0.2
    assert not breaker.is_open


def test_a_shorter_pause_does_not_shorten_a_longer_one(breaker: CircuitBreaker) -> None:
    breaker.pause(12)
    breaker.pause(3)
    assert breaker.resumes_in() == pytest.approx(12)


def test_a_probe_that_is_told_to_wait_waits_so_long_and_no_longer(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    breaker.begin()
    breaker.pause(12)
    pass_time(breaker, seconds)
    breaker.begin()
    breaker.pause(3)
    assert breaker.resumes_in() == pytest.approx(3)


def test_a_probe_that_nobody_waited_for_lets_the_next_one_go(
    breaker: CircuitBreaker, seconds: Seconds
) -> None:
    fail(breaker, 5)
    pass_time(breaker, seconds)
    breaker.record_abandoned(breaker.begin())
    assert not breaker.is_open


def test_what_was_under_way_when_it_opened_neither_closes_nor_lengthens_it(
    breaker: CircuitBreaker,
) -> None:
    epochs = [breaker.begin() for _ in range(20)]
    for epoch in epochs[:5]:
        breaker.record_failure(epoch)
    pause = breaker.resumes_in()
    for epoch in epochs[5:12]:
        breaker.record_failure(epoch)
    for epoch in epochs[12:]:
        breaker.record_success(epoch)
    assert breaker.resumes_in() == pytest.approx(pause)
    assert pause == about(FIRST)
