"""Pages of generations: which, in what order, and where the next page begins.

The cursor names the last row of a page by its place in the order (keyset), so pages neither
skip nor repeat rows while new ones come in, and the hundredth page costs what the first did.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, tuple_

from service.bulk import is_postgres
from service.errors import InvalidInput
from service.generation import Generation
from service.luma.reading import clean_text
from service.store import COLUMNS, GENERATIONS, as_generation

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


@dataclass(frozen=True, slots=True)
class Page:
    """One page; `next_cursor` is None on the last."""

    items: list[Generation]
    next_cursor: str | None


def page(connection: Connection, query: Query) -> Page:
    """The generations that `query` asks for.

    Raises:
        InvalidInput: the cursor is not one of ours, or of another order.
    """
    column = GENERATIONS.c.updated_at if "updated" in query.sort else GENERATIONS.c.ordered_at
    down = query.sort.startswith("-")
    keys = (column, GENERATIONS.c.id)
    statement = (
        select(*COLUMNS)
        .where(*_conditions(query, column, connection))
        .order_by(*(key.desc() if down else key for key in keys))
        .limit(query.limit + 1)
        .offset(query.offset)
    )
    if query.cursor is not None:
        at, generation_id = _decode(query.cursor, query.sort)
        place = tuple_(*keys), tuple_(literal(at, column.type), literal(generation_id))
        statement = statement.where(place[0] < place[1] if down else place[0] > place[1])
    rows = connection.execute(statement).mappings().all()
    items = [as_generation(row) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    last = items[-1] if more else None
    cursor = _encode(query.sort, getattr(last, column.name), last.id) if last else None
    return Page(items, cursor)


def _conditions(
    query: Query, order: ColumnElement[datetime], connection: Connection
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _filtered(name, order, connection).in_([clean_text(value) for value in values])
        for name in ("id", "state", "upstream", "generation_type", "operation", "model")
        if (values := getattr(query, name))
    ]
    if not query.gone:
        conditions.append(GENERATIONS.c.gone_at.is_(None))
    if query.created_after:
        conditions.append(GENERATIONS.c.ordered_at > query.created_after)
    if query.created_before:
        conditions.append(GENERATIONS.c.ordered_at < query.created_before)
    conditions.extend(_has_word(word) for word in clean_text(query.q or "").split())
    return conditions


def _filtered(name: str, order: ColumnElement[datetime], connection: Connection) -> Any:
    """A column to filter by. Where an index has it, it has the time of creation after it.

    By another order SQLite, which does not count, would take that index all the same and sort
    what may be most of the table; an expression keeps it to the index of the order.
    """
    column = GENERATIONS.c[name]
    indexed = order is GENERATIONS.c.ordered_at or name == "id"
    return column if indexed or is_postgres(connection) else func.coalesce(column, None)


def _has_word(word: str) -> ColumnElement[bool]:
    columns = ("prompt", "id", "failure_reason", "failure_code")
    return or_(
        *(
            func.lower(GENERATIONS.c[name]).contains(word.lower(), autoescape=True)
            for name in columns
        )
    )


def _encode(sort: Sort, at: datetime, generation_id: str) -> str:
    place = f"{sort}|{at.isoformat()}|{generation_id}"
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
