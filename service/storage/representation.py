"""Representations: rows as HTTP sends them. The database writes the body, Python passes it on.

To make a `Generation` of each row and JSON of the `Generation` would be most of the cost of a
lookup or a list. The SQL writes the same bytes on both databases
(`tests/storage/test_representation.py` compares them with what pydantic writes).
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from pydantic_core import from_json

from service.domain.generation import TERMINAL_STATES, is_terminal
from service.storage.engine import Database, Dialect, GroupedReads, Row
from service.storage.engine.batches import document
from service.storage.shape import INSTANTS, NAMES, NO_ASSETS, GenerationOut

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
    """A generation as HTTP sends it, and what has to be known to send it.

    `etag` is a hash of the body and not `rev`: fresh presigned URLs are new bytes under the same
    rev. `good_until` is when Luma has to be asked before it is sent again; None: never.
    """

    id: str
    body: bytes
    rev: int
    upstream: str
    state: str
    has_assets: bool
    is_gone: bool
    assets_expire_at: datetime | None
    heard_at: datetime
    etag: str
    good_until: datetime | None = None

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return is_terminal(self.state)

    @property
    def final(self) -> bool:
        """Whether waiting for a change is of no use."""
        return self.is_gone or self.terminal

    def document(self) -> dict[str, Any]:
        """The body as plain values."""
        document: dict[str, Any] = from_json(self.body)
        return document

    def generation(self) -> GenerationOut:
        """The body as an object with fields."""
        return GenerationOut.model_validate_json(self.body)


GoodUntil = Callable[[Representation], datetime | None]


class Representations:
    """Reads representations by id.

    Args:
        database: open, and migrated.
        good_until: until when a representation may be sent without asking Luma.
    """

    def __init__(self, database: Database, good_until: GoodUntil) -> None:
        self._database = database
        self._good_until = good_until
        self._grouped = GroupedReads(self._read_all)
        one, many = ("= ?1", "IN (SELECT value FROM json_each(?1))"), ("= $1", "= ANY($1)")
        is_one, is_any = one if database.dialect is Dialect.SQLITE else many
        self._select_one = f"{_select(database.dialect)} {is_one}"
        self._select_any = f"{_select(database.dialect)} {is_any}"

    def read_nowait(self, generation_id: str) -> Representation | None:
        """The row of that id, without waiting; None also where the database is too far for that."""
        found = self._database.fetch_nowait(self._select_one, generation_id)
        return self._of(found[0]) if found else None

    async def read(self, generation_id: str) -> Representation | None:
        """The row of that id. Callers at the same time share a query."""
        return self.read_nowait(generation_id) or await self._grouped.get(generation_id)

    async def _read_all(self, ids: list[str]) -> Mapping[str, Representation]:
        wanted = document(ids) if self._database.dialect is Dialect.SQLITE else ids
        found = await self._database.fetch(self._select_any, wanted)
        return {row[0]: self._of(row) for row in found}

    def _of(self, row: Row) -> Representation:
        *known, expires, heard_at = row
        times = expires and instant(expires), instant(heard_at)
        found = Representation._make([*known, *times, etag_of(known[1]), None])
        return found._replace(good_until=self._good_until(found))


def etag_of(body: bytes) -> str:
    """A strong validator."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _select(dialect: Dialect) -> str:
    return f"""
    SELECT id, {body_sql(dialect)}, rev, upstream, state,
        CAST(assets AS TEXT) <> '{document({})}', gone_at IS NOT NULL, assets_expire_at, heard_at
    FROM generations WHERE id"""  # noqa: S608 - all of it is ours


def instant(told: object) -> datetime:
    """A time: PostgreSQL's driver makes one, SQLite has text."""
    return (
        told
        if isinstance(told, datetime)
        else datetime.fromisoformat(str(told)).replace(tzinfo=UTC)
    )
