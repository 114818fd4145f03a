"""Pages of generations: filters, sort orders and cursors.

Pagination is by keyset: the cursor contains the sort key of the last row of a page. Pages
therefore neither skip nor repeat rows while rows are added, and every page costs the same.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from service.domain import query as search
from service.domain.query import Conditions
from service.domain.text import clean_text
from service.domain.times import Moment, resolve
from service.errors import InvalidInput
from service.storage import words
from service.storage.criteria import Criteria, add_terms, filter_expression
from service.storage.engine import Database, Dialect
from service.storage.fields import members, only_fields, outermost_paths
from service.storage.representation import as_datetime, body_sql
from service.storage.shape import NAMES, GenerationOut
from service.storage.words import Narrowed

MAX_LIMIT = 200
MAX_VALUES = 200  # in one filter
_SHORT = 100  # rows of a page; the bodies of more are not built without a thread
_ANY = Conditions(datetime.min.replace(tzinfo=UTC), timedelta())
"""For queries that do not depend on them."""


class Sort(StrEnum):
    """The sort orders of a list; `-` means newest first."""

    CREATED_DOWN = "-created_at"
    CREATED_UP = "created_at"
    UPDATED_DOWN = "-updated_at"
    UPDATED_UP = "updated_at"

    @property
    def opposite(self) -> "Sort":
        """The same order from the other end."""
        return Sort(self.removeprefix("-") if self.startswith("-") else f"-{self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to list. A row must match one value of each filter that is set."""

    id: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    generation_type: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    q: search.Query = search.EVERYTHING
    created_after: Moment | None = None
    created_before: Moment | None = None
    gone: bool = False
    sort: Sort = Sort.CREATED_DOWN
    limit: int = 50
    offset: int = 0
    cursor: str | None = None
    fields: tuple[str, ...] = ()
    """The fields of the bodies (`storage/fields.py`); empty: all."""

    @property
    def depends_on_now(self) -> bool:
        """Whether the same query asks for other generations at another time."""
        moments = self.created_after, self.created_before
        return self.q.depends_on_now or any(isinstance(at, timedelta) for at in moments)


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
    first_cursor: str | None = None
    """In the opposite order, the cursor of what comes before this page; None for an empty page."""


async def page(database: Database, query: Query, conditions: Conditions) -> Page:
    """Return one page of generations.

    Args:
        database: open, and migrated.
        query: what to list.
        conditions: what times before now, and `is:stale`, depend on.

    Raises:
        InvalidInput: the cursor is malformed, or is of another sort order.
        StoreUnavailable: the database did not answer in time.
    """
    narrowed = await words.narrow(database, query.q)
    sql, values = page_sql(query, database.dialect, conditions, narrowed)
    run = database.search_long if query.limit > _SHORT else database.search
    rows = await run(sql, *values)
    items = _with_fields([Listed(*row[:3]) for row in rows[: query.limit]], query.fields)
    first = _encode(query.sort.opposite, rows[0][3], items[0].id) if items else None
    if len(rows) <= query.limit:
        return Page(items, None, first)
    *_, at = rows[query.limit - 1]
    return Page(items, _encode(query.sort, at, items[-1].id), first)


def _with_fields(items: list[Listed], fields: tuple[str, ...]) -> list[Listed]:
    """Leave only the fields in the bodies; the database has built only the members they are in."""
    if not any("." in field for field in fields):
        return items
    kept = outermost_paths(fields)
    return [item._replace(body=only_fields(item.body, kept)) for item in items]


def page_sql(
    query: Query, dialect: Dialect, conditions: Conditions, narrowed: Narrowed | None = None
) -> tuple[str, tuple[object, ...]]:
    """Return the SQL for a page plus one row, and its values."""
    if narrowed or query.depends_on_now:
        return _page_sql(query, dialect, conditions, narrowed)
    return _page_sql_of_all(query, dialect)


@lru_cache(256)  # dashboards repeat the same queries
def _page_sql_of_all(query: Query, dialect: Dialect) -> tuple[str, tuple[object, ...]]:
    return _page_sql(query, dialect, _ANY, None)


def _page_sql(
    query: Query, dialect: Dialect, conditions: Conditions, narrowed: Narrowed | None
) -> tuple[str, tuple[object, ...]]:
    order = "updated_at" if "updated" in query.sort else "ordered_at"
    down = query.sort.startswith("-")
    where = Criteria(dialect)
    _filter(where, query, order, conditions)
    if query.cursor is not None:
        at, generation_id = _decode(query.cursor, query.sort)
        comparison = "<" if down else ">"
        where.add(f"({order}, id) {comparison} ({where.value(at)}, {where.value(generation_id)})")
    direction = "DESC" if down else "ASC"
    body = body_sql(dialect, members(query.fields) or NAMES)
    # The subquery limits the rows first, so that bodies are built for the rows of the page only.
    sql = f"""
        SELECT id, rev, {body}, {order} FROM (
            SELECT generations.* FROM {_table(where, narrowed)} WHERE {where}
            ORDER BY {order} {direction}, id {direction}
            LIMIT {where.value(query.limit + 1)} OFFSET {where.value(query.offset)}
        ) AS page
    """  # noqa: S608 - names are constants, and values are parameters
    return sql, tuple(where.values)


def _table(where: Criteria, narrowed: Narrowed | None) -> str:
    """Return the table to read; of a narrowed search, the few rows that may match come first."""
    if narrowed is None:
        return "generations"
    ids, later = where.strings(narrowed.ids), where.value(narrowed.seq)
    # In SQLite, CROSS JOIN is a JOIN whose first table is read first.
    join = "CROSS JOIN" if where.dialect is Dialect.SQLITE else "JOIN"
    return f"""({ids} UNION SELECT generation_id FROM events WHERE seq > {later}) AS found
        {join} generations ON generations.id = found.generation_id"""  # noqa: S608


def _filter(where: Criteria, query: Query, order: str, conditions: Conditions) -> None:
    for name in ("id", "state", "upstream", "generation_type", "operation", "model"):
        if values := getattr(query, name):
            expression = filter_expression(name, order, where.dialect)
            where.add(where.any_of(expression, [clean_text(value) for value in values]))
    if not (query.gone or query.q.asks_for_gone):
        # A plain `gone_at IS NULL` makes PostgreSQL, without statistics, expect few rows and sort
        # the table.
        where.add("CASE WHEN gone_at IS NULL THEN TRUE ELSE FALSE END")
    if query.created_after:
        where.add(f"ordered_at > {where.value(resolve(query.created_after, conditions.now))}")
    if query.created_before:
        where.add(f"ordered_at < {where.value(resolve(query.created_before, conditions.now))}")
    add_terms(where, query.q, order, conditions)


def _encode(sort: Sort, at: object, generation_id: str) -> str:
    place = f"{sort}|{as_datetime(at).isoformat()}|{generation_id}"
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
