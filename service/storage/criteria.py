"""Conditions on generations in SQL: filters, and the terms of a query."""

import re
from collections.abc import Sequence

from service.domain.generation import MAX_CLOCK_SKEW
from service.domain.query import (
    Compare,
    Conditions,
    Is,
    IsOneOf,
    OneOf,
    Query,
    Term,
    When,
    Word,
)
from service.domain.query.matching import FIELDS, SEARCHED
from service.domain.text import fold
from service.domain.times import resolve
from service.storage.engine import Dialect
from service.storage.engine.batches import dump_json
from service.storage.tables.generations import OPEN, TERMINAL

_ESCAPE = "!"
_ESCAPE_LITERAL = f"'{_ESCAPE}'"
_WILDCARDS = re.compile(r"[!%_]")
_ASCII_WHEN_SMALL = {"i": "İ", "k": "\N{KELVIN SIGN}"}  # all that are not when capital
_IS = {
    Is.TERMINAL: TERMINAL,
    Is.OPEN: OPEN,
    Is.GONE: "gone_at IS NOT NULL",
    Is.VERIFIED: "verified",
    Is.ARCHIVED: "archived IS NOT NULL",
}
_SETTLED = """(state = 'failed' OR (state = 'completed' AND CAST(assets AS TEXT) <> '{}'))"""
TOOK = {
    # `strftime` alone would round the fractions of a second.
    Dialect.SQLITE: """(strftime('%s', substr(finished_at, 1, 19))
        - strftime('%s', substr(created_at, 1, 19))
        + (substr(finished_at, 21) - substr(created_at, 21)) / 1e6)""",
    Dialect.POSTGRES: "CAST(extract(epoch FROM finished_at - created_at) AS float8)",
}
"""The seconds that a generation took, null if they are not known: `Generation.took`."""


class Criteria:
    """A conjunction of SQL conditions, and its parameters in the style of the dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.values: list[object] = []
        self._mark = "?" if dialect is Dialect.SQLITE else "$"
        self._conditions = ["TRUE"]

    def __str__(self) -> str:
        return " AND ".join(self._conditions)

    def value(self, value: object) -> str:
        """Add a parameter, and return its placeholder."""
        self.values.append(value)
        return f"{self._mark}{len(self.values)}"

    def strings(self, values: Sequence[str]) -> str:
        """Return a query for the values, as one column `generation_id`."""
        if self.dialect is Dialect.SQLITE:
            listed = self.value(dump_json(values))
            return f"SELECT value AS generation_id FROM json_each({listed})"  # noqa: S608
        return f"SELECT unnest(CAST({self.value(list(values))} AS text[])) AS generation_id"

    def add(self, condition: str) -> None:
        """Add a condition."""
        self._conditions.append(condition)

    def any_of(self, expression: str, values: Sequence[str]) -> str:
        """Return the condition that the expression equals one of the values."""
        places = [self.value(value) for value in values]
        if len(places) == 1:  # with `=`, the index returns the rows in the order of the list
            return f"{expression} = {places[0]}"
        return f"{expression} IN ({', '.join(places)})"


def add_terms(where: Criteria, query: Query, order: str, conditions: Conditions) -> None:
    """Add the conditions that the terms of a query are.

    Args:
        where: to add to.
        query: the query.
        order: the column that the list is sorted by.
        conditions: what the query depends on besides the generation.
    """
    for term in query.terms:
        condition = _condition(where, term, order, conditions)
        where.add(f"NOT coalesce({condition}, FALSE)" if term.negated else condition)


def filter_expression(column: str, order: str, dialect: Dialect) -> str:
    """Return the expression for a filter column.

    The index of a filter column continues with the time of creation. For another sort order,
    SQLite, which has no statistics here, would still use that index and then sort what may be most
    of the table. An expression makes it use the index of the sort order instead.
    """
    indexed = order == "ordered_at" or column in ("id", "parent_id")
    return column if indexed or dialect is Dialect.POSTGRES else f"coalesce({column}, NULL)"


def _condition(where: Criteria, term: Term, order: str, conditions: Conditions) -> str:
    match term:
        case Word(text):
            return _has_word(where, text)
        case OneOf(key, values):
            return where.any_of(filter_expression(FIELDS[key], order, where.dialect), values)
        case IsOneOf(values):
            return f"({' OR '.join(_is(where, value, conditions) for value in values)})"
        case When(after, at):
            limit = where.value(resolve(at, conditions.now))
            return f"ordered_at {'>' if after else '<'} {limit}"
        case Compare(key, operator, limit):
            number = "cost_usd_estimate" if key == "cost" else TOOK[where.dialect]
            return f"{number} {operator} {where.value(limit)}"


def _is(where: Criteria, value: Is, conditions: Conditions) -> str:
    if value is not Is.STALE:
        return _IS[value]
    quiet = where.value(conditions.now - conditions.stale_after)
    ahead = where.value(conditions.now + MAX_CLOCK_SKEW)
    heard = f"(heard_at < {quiet} OR heard_at > {ahead})"
    return f"(gone_at IS NULL AND NOT {_SETTLED} AND {heard})"


def _has_word(where: Criteria, word: str) -> str:
    """Return the condition that one of the text columns contains the word, ignoring case."""
    folded = fold(word)
    escaped = _WILDCARDS.sub(lambda found: _ESCAPE + found[0], folded)
    like = f"LIKE {where.value(f'%{escaped}%')} ESCAPE {_ESCAPE_LITERAL}"
    is_like = _is_like_on_sqlite if where.dialect is Dialect.SQLITE else _is_like_on_postgres
    return f"({' OR '.join(is_like(name, folded, like) for name in SEARCHED)})"


def _is_like_on_sqlite(column: str, word: str, like: str) -> str:
    """LIKE of SQLite ignores the case of ASCII letters, which is much faster than `luma_fold`."""
    folded = f"luma_fold({column}) {like}"
    if not word.isascii():
        return folded
    capitals = [capital for small, capital in _ASCII_WHEN_SMALL.items() if small in word]
    if not capitals or column == "id":  # ids are ASCII
        return f"{column} {like}"
    has_capitals = " OR ".join(f"instr({column}, '{capital}')" for capital in capitals)
    return f"{column} {like} OR (({has_capitals}) AND {folded})"


def _is_like_on_postgres(column: str, word: str, like: str) -> str:
    """The function makes σ of Σ, but leaves ς: few words need more, and it takes as long again."""
    folded = f"luma_fold({column})"
    return f"replace({folded}, 'ς', 'σ') {like}" if "σ" in word else f"{folded} {like}"
