"""Pages of generations: which, in what order, and where the next page begins.

The cursor names the last row of a page by its place in the order (keyset), so pages neither
skip nor repeat rows while new ones come in, and the hundredth page costs what the first did.
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
_QUOTED = f"'{_ESCAPE}'"
_ESCAPED = re.compile(r"[!%_]")
MAX_LIMIT = 200
MOST_VALUES = 200  # of one filter


class Sort(StrEnum):
    """The orders that a list can have; `-` is newest first."""

    CREATED_DOWN = "-created_at"
    CREATED_UP = "created_at"
    UPDATED_DOWN = "-updated_at"
    UPDATED_UP = "updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to list. Within one filter any value will do; all filters must hold."""

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
    """One generation of a page: its body as it is sent, and what a memory of it is held against."""

    id: str
    rev: int
    body: bytes

    def generation(self) -> GenerationOut:
        """The body as an object with fields."""
        return GenerationOut.model_validate_json(self.body)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; `next_cursor` is None on the last."""

    items: list[Listed]
    next_cursor: str | None


async def page(database: Database, query: Query) -> Page:
    """The generations that `query` asks for.

    Raises:
        InvalidInput: the cursor is not one of ours, or of another order.
        StoreUnavailable: the database did not answer in time.
    """
    sql, values = question(query, database.dialect)
    rows = await database.search(sql, *values)
    items = [Listed(*row[:3]) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return Page(items, None)
    *_, at = rows[query.limit - 1]
    return Page(items, _encode(query.sort, at, items[-1].id))


@lru_cache(256)  # dashboards ask the same again and again
def question(query: Query, dialect: Dialect) -> tuple[str, tuple[object, ...]]:
    """The SQL of a page and one row more, and its values."""
    order = "updated_at" if "updated" in query.sort else "ordered_at"
    down = query.sort.startswith("-")
    where = Conditions(dialect)
    _filter(where, query, order)
    if query.cursor is not None:
        at, generation_id = _decode(query.cursor, query.sort)
        comparison = "<" if down else ">"
        where.add(f"({order}, id) {comparison} ({where.value(at)}, {where.value(generation_id)})")
    direction = "DESC" if down else "ASC"
    # Bodies are written of the rows of the page only, whatever had to be sorted to find them.
    sql = f"""
        SELECT id, rev, {body_sql(dialect)}, {order} FROM (
            SELECT * FROM generations WHERE {where}
            ORDER BY {order} {direction}, id {direction}
            LIMIT {where.value(query.limit + 1)} OFFSET {where.value(query.offset)}
        ) AS page
    """  # noqa: S608 - names are ours, and values are sent beside it
    return sql, tuple(where.values)


class Conditions:
    """Conditions that all have to hold, and their values, numbered as either database wants it."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.values: list[object] = []
        self._mark = "?" if dialect is Dialect.SQLITE else "$"
        self._conditions = ["TRUE"]

    def __str__(self) -> str:
        return " AND ".join(self._conditions)

    def value(self, value: object) -> str:
        """The place of a value that is sent beside the SQL."""
        self.values.append(value)
        return f"{self._mark}{len(self.values)}"

    def add(self, condition: str) -> None:
        """One more that has to hold."""
        self._conditions.append(condition)

    def any_of(self, expression: str, values: Sequence[str]) -> None:
        """It has to have one of these values."""
        places = [self.value(value) for value in values]
        several = len(places) > 1  # of one the index gives the rows in their order
        self.add(
            f"{expression} IN ({', '.join(places)})" if several else f"{expression} = {places[0]}"
        )


def _filter(where: Conditions, query: Query, order: str) -> None:
    for name in ("id", "state", "upstream", "generation_type", "operation", "model"):
        if values := getattr(query, name):
            where.any_of(_filtered(name, order, where.dialect), [clean_text(v) for v in values])
    if not query.gone:
        # Without statistics PostgreSQL takes `gone_at IS NULL` for rare, and would sort the table.
        where.add("CASE WHEN gone_at IS NULL THEN TRUE ELSE FALSE END")
    if query.created_after:
        where.add(f"ordered_at > {where.value(query.created_after)}")
    if query.created_before:
        where.add(f"ordered_at < {where.value(query.created_before)}")
    for word in clean_text(query.q or "").split():
        where.add(_has_word(word, where))


def _filtered(name: str, order: str, dialect: Dialect) -> str:
    """A column to filter by. Where an index has it, it has the time of creation after it.

    By another order SQLite, which does not count, would take that index all the same and sort
    what may be most of the table; an expression keeps it to the index of the order.
    """
    indexed = order == "ordered_at" or name == "id"
    return name if indexed or dialect is Dialect.POSTGRES else f"coalesce({name}, NULL)"


def _has_word(word: str, where: Conditions) -> str:
    """That some text has it. SQLite itself folds the case of ASCII alone, which is much quicker."""
    escaped = _ESCAPED.sub(lambda found: _ESCAPE + found[0], word.lower())
    pattern = where.value(f"%{escaped}%")
    folded = "{}" if where.dialect is Dialect.SQLITE and word.isascii() else "lower({})"
    texts = [folded.format(name) for name in ("prompt", "id", "failure_reason", "failure_code")]
    return f"({' OR '.join(f'{text} LIKE {pattern} ESCAPE {_QUOTED}' for text in texts)})"


def _encode(sort: Sort, at: object, generation_id: str) -> str:
    place = f"{sort}|{instant(at).isoformat()}|{generation_id}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decode(cursor: str, sort: Sort) -> tuple[datetime, str]:
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        order, at, generation_id = clean_text(place.decode()).split("|", 2)
        if Sort(order) is sort:
            return datetime.fromisoformat(at).astimezone(UTC), generation_id
    except (ValueError, OverflowError):  # binascii's and Unicode's errors among them
        pass
    raise InvalidInput(
        "cursor",
        "The cursor is not one that this list gave.",
        "Pass `next_cursor` as it came, with the same `sort`; or begin without a cursor.",
    )
