"""Pages of generations: filters, sort orders and cursors.

Pagination is by keyset: the cursor contains the sort key of the last row of a page. Pages
therefore neither skip nor repeat rows while rows are added, and every page costs the same.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from service.domain.text import clean_text
from service.errors import InvalidInput
from service.storage.engine import Database, Dialect
from service.storage.representation import body_sql, instant
from service.storage.shape import GenerationOut

_ESCAPE = "!"
_ESCAPE_LITERAL = f"'{_ESCAPE}'"
_WILDCARDS = re.compile(r"[!%_]")
MAX_LIMIT = 200
MAX_VALUES = 200  # in one filter


class Sort(StrEnum):
    """The sort orders of a list; `-` means newest first."""

    CREATED_DOWN = "-created_at"
    CREATED_UP = "created_at"
    UPDATED_DOWN = "-updated_at"
    UPDATED_UP = "updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to list. A row must match one value of each filter that is set."""

    id: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    generation_type: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    q: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    gone: bool = False
    sort: Sort = Sort.CREATED_DOWN
    limit: int = 50
    offset: int = 0
    cursor: str | None = None


class Listed(NamedTuple):
    """One generation of a page: its response body, and the `rev` for comparing it with a cache."""

    id: str
    rev: int
    body: bytes

    def generation(self) -> GenerationOut:
        """Parse the body."""
        return GenerationOut.model_validate_json(self.body)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; `next_cursor` is None on the last page."""

    items: list[Listed]
    next_cursor: str | None


async def page(database: Database, query: Query) -> Page:
    """Return one page of generations.

    Raises:
        InvalidInput: the cursor is malformed, or is of another sort order.
        StoreUnavailable: the database did not answer in time.
    """
    sql, values = page_sql(query, database.dialect)
    rows = await database.search(sql, *values)
    items = [Listed(*row[:3]) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return Page(items, None)
    *_, at = rows[query.limit - 1]
    return Page(items, _encode(query.sort, at, items[-1].id))


@lru_cache(256)  # dashboards repeat the same queries
def page_sql(query: Query, dialect: Dialect) -> tuple[str, tuple[object, ...]]:
    """Return the SQL for a page plus one row, and its values."""
    order = "updated_at" if "updated" in query.sort else "ordered_at"
    down = query.sort.startswith("-")
    where = Conditions(dialect)
    _filter(where, query, order)
    if query.cursor is not None:
        at, generation_id = _decode(query.cursor, query.sort)
        comparison = "<" if down else ">"
        where.add(f"({order}, id) {comparison} ({where.value(at)}, {where.value(generation_id)})")
    direction = "DESC" if down else "ASC"
    # The subquery limits the rows first, so that bodies are built for the rows of the page only.
    sql = f"""
        SELECT id, rev, {body_sql(dialect)}, {order} FROM (
            SELECT * FROM generations WHERE {where}
            ORDER BY {order} {direction}, id {direction}
            LIMIT {where.value(query.limit + 1)} OFFSET {where.value(query.offset)}
        ) AS page
    """  # noqa: S608 - names are constants, and values are parameters
    return sql, tuple(where.values)


class Conditions:
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

    def add(self, condition: str) -> None:
        """Add a condition."""
        self._conditions.append(condition)

    def any_of(self, expression: str, values: Sequence[str]) -> None:
        """Add the condition that the expression equals one of the values."""
        places = [self.value(value) for value in values]
        if len(places) == 1:  # with `=`, the index returns the rows in the order of the list
            self.add(f"{expression} = {places[0]}")
        else:
            self.add(f"{expression} IN ({', '.join(places)})")


def _filter(where: Conditions, query: Query, order: str) -> None:
    for name in ("id", "state", "upstream", "generation_type", "operation", "model"):
        if values := getattr(query, name):
            where.any_of(
                _filter_expression(name, order, where.dialect), [clean_text(v) for v in values]
            )
    if not query.gone:
        # A plain `gone_at IS NULL` makes PostgreSQL, without statistics, expect few rows and sort
        # the table.
        where.add("CASE WHEN gone_at IS NULL THEN TRUE ELSE FALSE END")
    if query.created_after:
        where.add(f"ordered_at > {where.value(query.created_after)}")
    if query.created_before:
        where.add(f"ordered_at < {where.value(query.created_before)}")
    for word in clean_text(query.q or "").split():
        where.add(_has_word(word, where))


def _filter_expression(name: str, order: str, dialect: Dialect) -> str:
    """Return the expression for a filter column.

    The index of a filter column continues with the time of creation. For another sort order,
    SQLite, which has no statistics here, would still use that index and then sort what may be most
    of the table. An expression makes it use the index of the sort order instead.
    """
    indexed = order == "ordered_at" or name == "id"
    return name if indexed or dialect is Dialect.POSTGRES else f"coalesce({name}, NULL)"


def _has_word(word: str, where: Conditions) -> str:
    """Return the condition that one of the text columns contains the word, ignoring case.

    LIKE of SQLite ignores the case of ASCII letters without `lower`, which is much faster.
    """
    escaped = _WILDCARDS.sub(lambda found: _ESCAPE + found[0], word.lower())
    pattern = where.value(f"%{escaped}%")
    folded = "{}" if where.dialect is Dialect.SQLITE and word.isascii() else "lower({})"
    texts = [folded.format(name) for name in ("prompt", "id", "failure_reason", "failure_code")]
    return f"({' OR '.join(f'{text} LIKE {pattern} ESCAPE {_ESCAPE_LITERAL}' for text in texts)})"


def _encode(sort: Sort, at: object, generation_id: str) -> str:
    place = f"{sort}|{instant(at).isoformat()}|{generation_id}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decode(cursor: str, sort: Sort) -> tuple[datetime, str]:
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        order, at, generation_id = clean_text(place.decode()).split("|", 2)
        if Sort(order) is sort:
            return datetime.fromisoformat(at).astimezone(UTC), generation_id
    except (ValueError, OverflowError):  # includes the errors of binascii and of Unicode decoding
        pass
    raise InvalidInput(
        "cursor",
        "The cursor is invalid, or belongs to another `sort`.",
        "Pass `next_cursor` unchanged with the same `sort`, or start without a cursor.",
    )
