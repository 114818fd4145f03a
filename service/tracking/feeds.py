"""Feeds: all generations that match a query, as NDJSON or CSV, page by page in flat memory.

Each page is a statement of its own that continues after the last row (`storage/listing.py`), so
between two pages a feed holds no connection and no transaction, however slow its reader is. For the
same reason it is no snapshot: each row is shown as it is when its page is read.
"""

import csv
import io
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any
from unicodedata import category

from pydantic_core import from_json, to_json
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from service.errors import StoreUnavailable
from service.storage.fields import KNOWN, members, paths, value_of
from service.storage.listing import MAX_LIMIT, Listed, Page, Query
from service.tracking.tracker import Tracker

_PAGE = MAX_LIMIT  # rows in memory at a time
_TRIES = 4  # for each page but the first
_WITHOUT_CELLS = ("assets", "outputs", "request", "archived")
CSV_FIELDS = tuple(field for field in KNOWN if field not in _WITHOUT_CELLS)
"""The columns of a CSV feed, unless others are asked for: all that fit in a cell."""
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")  # also full width, which some take as the same

Lines = Callable[[Sequence[Listed]], bytes]


class Format(StrEnum):
    """The representations of a list."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


class Feed:
    """One feed. Its `lines` can be read once.

    Args:
        tracker: whose generations are read.
        query: what to include, in which order, from which cursor on, and which fields.
        format_: CSV or NDJSON.
        limit: the number of rows; None: all.
    """

    def __init__(
        self, tracker: Tracker, query: Query, format_: Format, limit: int | None = None
    ) -> None:
        self._tracker = tracker
        self._conditions = tracker.conditions()  # `-24h` means the same on each page
        self._left = limit
        self.rows = 0
        """The number of rows so far."""
        columns = query.fields or CSV_FIELDS
        is_csv = format_ is Format.CSV
        self._head = csv_lines([columns]) if is_csv else b""
        self._lines = csv_of(columns) if is_csv else ndjson
        self._query = replace(query, fields=members(columns)) if is_csv else query

    async def lines(self) -> AsyncGenerator[bytes]:
        """Return the lines of one page after the other; the first page may be empty.

        Raises:
            InvalidInput: the cursor is malformed, or is of another sort order.
            StoreUnavailable: the database did not answer; for later pages, several times.
        """
        page = await self._page(self._query.cursor)
        yield self._head + self._lines_of(page)
        while page.next_cursor and self._left != 0:
            page = await self._page_with_retries(page.next_cursor)
            yield self._lines_of(page)

    async def _page_with_retries(self, cursor: str) -> Page:
        """A database that is busy for some seconds must not end a feed that has come far."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailable),
            stop=stop_after_attempt(_TRIES),
            wait=wait_exponential(multiplier=0.25),
            reraise=True,
        )
        return await retrying(self._page, cursor)

    async def _page(self, cursor: str | None) -> Page:
        limit = _PAGE if self._left is None else min(self._left, _PAGE)
        query = replace(self._query, cursor=cursor, limit=limit)
        return await self._tracker.page(query, self._conditions)

    def _lines_of(self, page: Page) -> bytes:
        self.rows += len(page.items)
        if self._left is not None:
            self._left -= len(page.items)
        return self._lines(page.items)


def csv_lines(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return rows as CSV (RFC 4180), in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """Return the text of a CSV cell: text as it is, null as nothing, all else as JSON.

    Spreadsheets run a cell that begins like a formula, so it gets a `'` in front.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value).decode()
    return f"'{text}" if text and _may_be_formula(text[0]) else text


def _may_be_formula(character: str) -> bool:
    return character in _FORMULA or category(character) == "Cc"


def csv_of(columns: Sequence[str]) -> Lines:
    """Return what makes the rows of these columns."""
    cells = paths(columns)

    def lines(items: Sequence[Listed]) -> bytes:
        documents = [from_json(item.body) for item in items]
        return csv_lines([cell(value_of(each, path)) for path in cells] for each in documents)

    return lines


def ndjson(items: Sequence[Listed]) -> bytes:
    """Return the bodies as they are: JSON has no line break but in strings, as `\\n`."""
    return b"".join([item.body + b"\n" for item in items])
