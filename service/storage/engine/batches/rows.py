"""Types and conversions that both databases share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult

Rows = Sequence[Mapping[str, Any]]
OLD_PREFIX = "before_"
"""The prefix of parameters that contain the expected old value of a column."""
NEW_PREFIX = "new_"
"""The prefix of parameters that contain new values."""

OnConflict = Callable[[Any], Any]
"""Adds an ON CONFLICT clause to an insert statement."""


def read_rows(
    found: CursorResult[Any],
    names: Sequence[str],
    converters: Sequence[tuple[str, Callable[[Any], Any]]],
) -> list[dict[str, Any]]:
    """Convert result rows to dicts, with the converters for the columns that need one."""
    rows = [dict(zip(names, row, strict=True)) for row in found.all()]
    for row in rows:
        for name, convert in converters:
            if (value := row[name]) is not None:
                row[name] = convert(value)
    return rows
