"""Callback tokens: only ours are accepted, and keys can rotate."""

import re

import pytest

from service.tokens import CallbackTokens


def test_a_token_of_ours_is_accepted_and_always_the_same() -> None:
    tokens = CallbackTokens(["secret"])
    assert tokens.accepts(tokens.reusable())
    assert tokens.reusable() == CallbackTokens(["secret"]).reusable()


def test_a_token_is_unguessable_and_fits_into_a_path() -> None:
    token = CallbackTokens(["secret"]).reusable()
    assert re.fullmatch(r"[A-Za-z0-9._-]{40,128}", token)
    assert "secret" not in token


def test_another_secret_makes_other_tokens() -> None:
    one, other = CallbackTokens(["one"]), CallbackTokens(["other"])
    assert one.reusable() != other.reusable()
    assert not other.accepts(one.reusable())


@pytest.mark.parametrize("token", ["", ".", "any", "any.", "é", "\ud800", "\0", "any." + "A" * 43])
def test_anything_else_is_refused(token: str) -> None:
    assert not CallbackTokens(["secret"]).accepts(token)


def test_every_change_of_a_character_is_noticed() -> None:
    tokens = CallbackTokens(["secret"])
    token = tokens.reusable()
    for place in range(len(token) - 1):  # the last one carries bits that mean nothing
        changed = "B" if token[place] != "B" else "C"
        assert not tokens.accepts(token[:place] + changed + token[place + 1 :])


def test_the_newest_secret_signs_and_the_older_is_still_accepted() -> None:
    old, both = CallbackTokens(["old"]), CallbackTokens(["new", "old"])
    assert both.reusable() == CallbackTokens(["new"]).reusable()
    assert both.accepts(old.reusable())
    assert both.accepts(both.reusable())
    assert not CallbackTokens(["new"]).accepts(old.reusable())
