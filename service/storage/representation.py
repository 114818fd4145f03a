"""Rows as they are sent: the database writes the body, and Python only passes it on.

What takes most of a lookup or a list is to make a `Generation` of each row and text of the
`Generation`. The body that the database puts together has the same bytes all the same, on both
databases (`tests/storage/test_representation.py`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from service.domain.generation import TERMINAL_STATES
from service.storage.engine import Database, Dialect, GroupedReads
from service.storage.engine.batches import document
from service.storage.shape import INSTANTS, NAMES, NO_ASSETS, Shown, etag_of

_TEMPLATE = "{" + ",".join(f'"{name}":%s' for name in NAMES) + "}"
_TERMINAL = f"state IN {TERMINAL_STATES}"
_USUAL = ", ".join(f"'{name}'" for name in NO_ASSETS)
_OTHER_ASSETS = f"""(SELECT string_agg(',' || to_json(key)::text || ':' || value::text, '')
    FROM json_each(assets) WHERE key NOT IN ({_USUAL}))"""  # noqa: S608 - all of it is ours
_ASSETS = ",".join(f'"{name}":%s' for name in NO_ASSETS)
_USUAL_ASSETS = ", ".join(f"coalesce(assets->'{name}', 'null')" for name in NO_ASSETS)

_SQLITE = {
    "terminal": f"iif({_TERMINAL}, 'true', 'false')",
    "verified": "iif(verified, 'true', 'false')",
    "assets": f"json_patch('{document(NO_ASSETS)}', assets)",
    "outputs": "outputs",  # documents are kept as they are sent
    "request": "coalesce(request, 'null')",
    **{at: f"""coalesce('"' || replace({at}, ' ', 'T') || 'Z"', 'null')""" for at in INSTANTS},
}
_POSTGRES = {
    "terminal": f"CASE WHEN {_TERMINAL} THEN 'true' ELSE 'false' END",
    "verified": "CASE WHEN verified THEN 'true' ELSE 'false' END",
    "assets": f"""CASE assets::text WHEN '{{}}' THEN '{document(NO_ASSETS)}' ELSE
        format('{{{_ASSETS}%s}}', {_USUAL_ASSETS}, {_OTHER_ASSETS}) END""",
    "outputs": "outputs",
    "request": "coalesce(request, 'null')",
    "rev": "rev",
    **{
        at: f"""coalesce(to_char({at} AT TIME ZONE 'UTC', '"\\""YYYY-MM-DD"T"HH24:MI:SS.US"Z\\""'),
            'null')"""
        for at in INSTANTS
    },
}


@cache
def body_sql(dialect: Dialect) -> str:
    """The expression of a row's body, as bytes in UTF-8."""
    if dialect is Dialect.SQLITE:
        values = ", ".join(_SQLITE.get(name, f"json_quote({name})") for name in NAMES)
        return f"CAST(printf('{_TEMPLATE}', {values}) AS BLOB)"
    quoted = "coalesce(to_json({})::text, 'null')".format
    values = ", ".join(_POSTGRES.get(name, quoted(name)) for name in NAMES)
    return f"convert_to(format('{_TEMPLATE}', {values}), 'UTF8')"


class Representation(NamedTuple):
    """A generation as it is sent, and what must be known to send it."""

    id: str
    body: bytes
    rev: int
    upstream: str
    state: str
    terminal: bool
    assets: bool
    """Whether there are any."""
    gone_at: bool
    """Whether there is a time."""
    assets_expire_at: datetime | None
    heard_at: datetime

    def shown(self, good_until: datetime | None) -> Shown:
        """With its validator."""
        final = self.terminal or self.gone_at
        etag = etag_of(self.body)
        return Shown(self.id, self.rev, self.body, etag, self.heard_at, good_until, final)


class Representations:
    """Finds them by id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._grouped = GroupedReads(self._read)
        one, many = ("= ?1", "IN (SELECT value FROM json_each(?1))"), ("= $1", "= ANY($1)")
        is_one, is_any = one if database.dialect is Dialect.SQLITE else many
        self._find_one = f"{_find(database.dialect)} {is_one}"
        self._find_any = f"{_find(database.dialect)} {is_any}"

    def at_once(self, generation_id: str) -> Representation | None:
        """The row of that id, without waiting; None also where the database is too far for that."""
        found = self._database.glance(self._find_one, generation_id)
        return _read(found[0]) if found else None

    async def find(self, generation_id: str) -> Representation | None:
        """The row of that id. Who asks at the same time shares a query."""
        return self.at_once(generation_id) or await self._grouped.get(generation_id)

    async def _read(self, ids: list[str]) -> Mapping[str, Representation]:
        wanted = document(ids) if self._database.dialect is Dialect.SQLITE else ids
        found = await self._database.fetch(self._find_any, wanted)
        return {row[0]: _read(row) for row in found}


def _find(dialect: Dialect) -> str:
    return f"""
    SELECT id, {body_sql(dialect)}, rev, upstream, state, {_TERMINAL},
        CAST(assets AS TEXT) <> '{document({})}', gone_at IS NOT NULL, assets_expire_at, heard_at
    FROM generations WHERE id"""  # noqa: S608 - all of it is ours


def _read(row: tuple[object, ...]) -> Representation:
    *told, expires, heard_at = row
    return Representation(*told, expires and instant(expires), instant(heard_at))  # type: ignore[arg-type,call-arg]


def instant(told: object) -> datetime:
    """A time: PostgreSQL's driver makes one, SQLite has text."""
    return (
        told
        if isinstance(told, datetime)
        else datetime.fromisoformat(str(told)).replace(tzinfo=UTC)
    )
