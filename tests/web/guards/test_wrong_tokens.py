"""Wrong tokens are counted per address, for a minute, with bounded memory."""

import pytest

from service.web.guards.wrong_tokens import (
    MAX_ADDRESSES,
    MAX_WRONG_TOKENS,
    PERIOD,
    WrongTokenCounter,
)
from tests.seconds import Seconds

HERE = "192.0.2.1"


@pytest.fixture
def clock() -> Seconds:
    """A clock that the test sets."""
    return Seconds()


@pytest.fixture
def guesses(clock: Seconds) -> WrongTokenCounter:
    """An empty counter."""
    return WrongTokenCounter(clock)


def _guess(guesses: WrongTokenCounter, address: str, times: int = MAX_WRONG_TOKENS) -> None:
    for _ in range(times):
        guesses.add(address)


def test_the_limits_are_those_that_are_documented() -> None:
    assert (MAX_WRONG_TOKENS, PERIOD) == (20, 60.0)


def test_only_the_last_of_too_many_has_to_wait(guesses: WrongTokenCounter) -> None:
    _guess(guesses, HERE, MAX_WRONG_TOKENS - 1)
    assert not guesses.too_many(HERE)
    guesses.add(HERE)
    assert guesses.too_many(HERE)


def test_the_wait_is_over_when_the_first_of_them_is_a_minute_old(
    guesses: WrongTokenCounter, clock: Seconds
) -> None:
    guesses.add(HERE)
    clock.now += 40
    _guess(guesses, HERE, MAX_WRONG_TOKENS - 1)
    clock.now += PERIOD - 41
    assert guesses.too_many(HERE)
    clock.now += 1
    assert not guesses.too_many(HERE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "unix:", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(
    guesses: WrongTokenCounter, one: str, other: str, same: bool
) -> None:
    _guess(guesses, one)
    assert guesses.too_many(other) is same


def test_the_store_keeps_so_many_addresses_and_forgets_the_one_that_was_longest_quiet(
    guesses: WrongTokenCounter,
) -> None:
    _guess(guesses, HERE)
    for n in range(MAX_ADDRESSES - 1):
        guesses.add(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert guesses.too_many(HERE)
    guesses.add("198.51.100.1")
    assert not guesses.too_many(HERE)
    assert len(guesses) == MAX_ADDRESSES
