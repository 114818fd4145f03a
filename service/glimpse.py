"""A row of SQLite's as it is sent: the database writes the body, and Python only passes it on.

What takes most of a lookup is to make a `Generation` of a row and text of the `Generation`. The
body that SQLite puts together has the same bytes all the same (`tests/test_glimpse.py`).
"""

from datetime import UTC, datetime
from typing import NamedTuple

from service.bulk import document
from service.db import Database
from service.generation import TERMINAL_STATES
from service.shape import INSTANTS, NAMES, NO_ASSETS, Shown, etag_of

_AS_JSON = {
    "terminal": f"iif(state IN {TERMINAL_STATES}, 'true', 'false')",
    "verified": "iif(verified, 'true', 'false')",
    "assets": f"json_patch('{document(NO_ASSETS)}', assets)",
    "outputs": "outputs",  # documents are kept as they are sent
    "request": "coalesce(request, 'null')",
    **{at: f"""coalesce('"' || replace({at}, ' ', 'T') || 'Z"', 'null')""" for at in INSTANTS},
}
_TEMPLATE = ",".join(f'"{name}":%s' for name in NAMES)
_VALUES = ", ".join(_AS_JSON.get(name, f"json_quote({name})") for name in NAMES)
_FIND = f"""
    SELECT CAST(printf('{{{_TEMPLATE}}}', {_VALUES}) AS BLOB),
        rev, upstream, state, state IN {TERMINAL_STATES}, assets <> '{document({})}', gone_at,
        assets_expire_at, heard_at
    FROM generations WHERE id = ?
"""  # noqa: S608 - all of it is ours


class Glimpse(NamedTuple):
    """A generation as it is sent, and what must be known to send it."""

    id: str
    body: bytes
    rev: int
    upstream: str
    state: str
    terminal: bool
    assets: bool
    """Whether there are any."""
    gone_at: str | None
    assets_expire_at: datetime | None
    heard_at: datetime

    def shown(self, good_until: datetime | None) -> Shown:
        """With its validator."""
        final = bool(self.terminal or self.gone_at)
        etag = etag_of(self.body)
        return Shown(self.id, self.rev, self.body, etag, self.heard_at, good_until, final)


def glimpse(database: Database, generation_id: str) -> Glimpse | None:
    """The row of that id, without waiting; None also where the database is too far for that."""
    found = database.glance(_FIND, generation_id)
    if not found:
        return None
    *told, expires, heard_at = found[0]
    times = expires and _time(expires), _time(heard_at)
    return Glimpse(generation_id, *told, *times)  # type: ignore[call-arg]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
