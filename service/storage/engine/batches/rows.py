"""What is common to both databases: rows that go in, and rows that come back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult

Rows = Sequence[Mapping[str, Any]]
BEFORE = "before_"
"""Begins the names of values that say which row is meant."""
SENT = "new_"
"""Begins the names of arrays."""

OnConflict = Callable[[Any], Any]
"""Tells an insert what to do with a row that is there already."""


def read_rows(
    found: CursorResult[Any],
    names: Sequence[str],
    read: Sequence[tuple[str, Callable[[Any], Any]]],
) -> list[dict[str, Any]]:
    rows = [dict(zip(names, row, strict=True)) for row in found.all()]
    for row in rows:
        for name, way in read:
            if (value := row[name]) is not None:
                row[name] = way(value)
    return rows
