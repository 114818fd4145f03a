"""Whether a generation matches a query. `service.storage.criteria` is the same in SQL.

A property test holds them equal, on both databases. What is not known (null) matches no term, and
so every negated one.
"""

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from service.domain.generation import Generation, is_stale
from service.domain.query.terms import Compare, Is, IsOneOf, Key, OneOf, Query, Term, When, Word
from service.domain.text import fold
from service.domain.times import resolve

SEARCHED = ("prompt", "id", "failure_reason", "failure_code")
"""The fields that words are looked for in."""
FIELDS = {
    Key.STATE: "state",
    Key.UPSTREAM: "upstream",
    Key.TYPE: "generation_type",
    Key.OPERATION: "operation",
    Key.MODEL: "model",
    Key.ID: "id",
    Key.PARENT: "parent_id",
    Key.SOURCE: "source",
}
"""The field of each key."""
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}


class Conditions(NamedTuple):
    """What a query depends on besides the generation."""

    now: datetime
    stale_after: timedelta


def matches(query: Query, generation: Generation, conditions: Conditions) -> bool:
    """Return whether the generation matches all terms."""
    return all(_holds(term, generation, conditions) is not term.negated for term in query.terms)


def _holds(term: Term, generation: Generation, conditions: Conditions) -> bool:
    match term:
        case Word(text):
            return _has_word(generation, fold(text))
        case OneOf(key, values):
            return getattr(generation, FIELDS[key]) in values
        case IsOneOf(values):
            return any(_is(value, generation, conditions) for value in values)
        case When(after, at):
            limit = resolve(at, conditions.now)
            return generation.ordered_at > limit if after else generation.ordered_at < limit
        case Compare(key, sign, limit):
            number = generation.cost_usd_estimate if key == "cost" else generation.took
            return number is not None and _OPERATORS[sign](number, limit)


def _has_word(generation: Generation, word: str) -> bool:
    texts = (getattr(generation, name) for name in SEARCHED)
    return any(text is not None and word in fold(text) for text in texts)


def _is(value: Is, generation: Generation, conditions: Conditions) -> bool:
    match value:
        case Is.TERMINAL:
            return generation.terminal
        case Is.OPEN:
            return not generation.terminal
        case Is.STALE:
            return is_stale(generation, *conditions)
        case Is.GONE:
            return generation.is_gone
        case Is.VERIFIED:
            return generation.verified
        case Is.ARCHIVED:
            return generation.archived is not None
