"""Representations: generations as HTTP response bodies. The database builds the body.

Building a `Generation` from each row, and JSON from the `Generation`, would be most of the cost
of a lookup or a list. The SQL produces the same bytes on both databases
(`tests/storage/test_representation.py` compares them with those of pydantic).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from pydantic_core import from_json

from service.domain.generation import is_terminal
from service.domain.redaction import REDACTED
from service.storage.engine import Database, Dialect, GroupedReads, Row
from service.storage.engine.batches import dump_json
from service.storage.shape import INSTANTS, NAMES, NO_ASSETS, GenerationOut
from service.storage.tables.generations import TERMINAL

_USUAL = ", ".join(f"'{name}'" for name in NO_ASSETS)
_OTHER_ASSETS = f"""(SELECT string_agg(',' || to_json(key)::text || ':' || value::text, '')
    FROM json_each(assets) WHERE key NOT IN ({_USUAL}))"""  # noqa: S608 - built from constants only
_ASSETS = ",".join(f'"{name}":%s' for name in NO_ASSETS)
_USUAL_ASSETS = ", ".join(f"coalesce(assets->'{name}', 'null')" for name in NO_ASSETS)

# Strings in JSON cannot contain an unescaped quote, so this is always a key with its value.
_CREATORS = """'"callback_url":'"""
_OURS = f"""'"callback_url":"{REDACTED}"'"""

_SQLITE = {
    "terminal": f"iif({TERMINAL}, 'true', 'false')",
    "verified": "iif(verified, 'true', 'false')",
    "assets": f"json_patch('{dump_json(NO_ASSETS)}', assets)",
    "outputs": "outputs",  # stored in the form in which it is sent
    "request": "coalesce(request, 'null')",
    "archived": "coalesce(archived, 'null')",
    **{at: f"""coalesce('"' || replace({at}, ' ', 'T') || 'Z"', 'null')""" for at in INSTANTS},
}
_POSTGRES = {
    "terminal": f"CASE WHEN {TERMINAL} THEN 'true' ELSE 'false' END",
    "verified": "CASE WHEN verified THEN 'true' ELSE 'false' END",
    "assets": f"""CASE assets::text WHEN '{{}}' THEN '{dump_json(NO_ASSETS)}' ELSE
        format('{{{_ASSETS}%s}}', {_USUAL_ASSETS}, {_OTHER_ASSETS}) END""",
    "outputs": "outputs",
    "cost_usd_estimate": """coalesce(cost_usd_estimate::text ||
        CASE WHEN cost_usd_estimate = trunc(cost_usd_estimate) THEN '.0' ELSE '' END, 'null')""",
    "request": "coalesce(request, 'null')",
    "archived": "coalesce(archived, 'null')",
    "rev": "rev",
    **{
        at: f"""coalesce(to_char({at} AT TIME ZONE 'UTC', '"\\""YYYY-MM-DD"T"HH24:MI:SS.US"Z\\""'),
            'null')"""
        for at in INSTANTS
    },
}


@lru_cache(64)
def body_sql(dialect: Dialect, names: Sequence[str] = NAMES) -> str:
    """Return the SQL expression for the body of a row, as UTF-8 bytes.

    Args:
        dialect: of the database.
        names: the members to include, in their order.
    """
    template = "{" + ",".join(f'"{name}":%s' for name in names) + "}"
    if dialect is Dialect.SQLITE:
        values = ", ".join(_SQLITE.get(name, f"json_quote({name})") for name in names)
        return f"CAST(printf('{template}', {values}) AS BLOB)"
    quoted = "coalesce(to_json({})::text, 'null')".format
    values = ", ".join(_POSTGRES.get(name, quoted(name)) for name in names)
    return f"convert_to(format('{template}', {values}), 'UTF8')"


def luma_body_sql(dialect: Dialect) -> str:
    """Return the SQL expression for Luma's own document of a row, as UTF-8 bytes.

    Where Luma echoed a callback URL of ours, it has the creator's own, or null.
    """
    if dialect is Dialect.SQLITE:
        body = f"replace(coalesce(document, ''), {_OURS}, {_CREATORS} || json_quote(callback_url))"
        return f"CAST({body} AS BLOB)"
    own = f"{_CREATORS} || coalesce(to_json(callback_url)::text, 'null')"
    return f"convert_to(replace(coalesce(document, ''), {_OURS}, {own}), 'UTF8')"


def luma_body_of(document: str | None, callback_url: str | None) -> bytes | None:
    """Return the same as `luma_body_sql`, for a document that is at hand."""
    if document is None:
        return None
    ours = f'"callback_url":"{REDACTED}"'
    return document.replace(ours, f'"callback_url":{dump_json(callback_url)}').encode()


class Representation(NamedTuple):
    """The response bodies for a generation, and the fields that are needed to serve them.

    `body` is the public schema. `luma_body` is what Luma itself would answer. It is None unless it
    was asked for, which saves half of the memory of a cache, and empty if it is not stored: the row
    is older than that column, or what Luma answered is too large.

    `etag` is a hash of the body and not `rev`, because new presigned URLs change the body but not
    `rev`. `good_until` is the time until which it can be served without a fetch; None: without
    limit.
    """

    id: str
    body: bytes
    rev: int
    upstream: str
    state: str
    has_assets: bool
    is_gone: bool
    assets_expire_at: datetime | None
    luma_body: bytes | None
    heard_at: datetime
    etag: str
    good_until: datetime | None = None

    @property
    def terminal(self) -> bool:
        """Whether the state is terminal."""
        return is_terminal(self.state)

    @property
    def final(self) -> bool:
        """Whether no further change is expected, so that waiting for one is of no use."""
        return self.is_gone or self.terminal

    def document(self) -> dict[str, Any]:
        """Parse the body as a dict."""
        document: dict[str, Any] = from_json(self.body)
        return document

    def generation(self) -> GenerationOut:
        """Parse the body as a `GenerationOut`."""
        return GenerationOut.model_validate_json(self.body)


GoodUntil = Callable[[Representation], datetime | None]


class Representations:
    """Reads representations by id.

    Args:
        database: an open, migrated database.
        good_until: returns the time until which a representation can be served without a fetch.
    """

    def __init__(self, database: Database, good_until: GoodUntil) -> None:
        self._database = database
        self._good_until = good_until
        self._grouped = GroupedReads(partial(self._read_all, luma=False))
        self._grouped_luma = GroupedReads(partial(self._read_all, luma=True))
        sqlite = "= ?1", "IN (SELECT value FROM json_each(?1))"
        postgres = "= $1", "= ANY($1)"
        is_one, is_any = sqlite if database.dialect is Dialect.SQLITE else postgres
        selects = {luma: _select(database.dialect, luma=luma) for luma in (False, True)}
        self._select_one = {luma: f"{sql} WHERE id {is_one}" for luma, sql in selects.items()}
        self._select_any = {luma: f"{sql} WHERE id {is_any}" for luma, sql in selects.items()}
        self._select_newest = _select_newest(database.dialect)

    def read_nowait(self, generation_id: str, *, luma: bool = False) -> Representation | None:
        """Read one without waiting; None also if the database cannot answer without waiting.

        Args:
            generation_id: its id.
            luma: whether to read `luma_body`, too.
        """
        found = self._database.fetch_nowait(self._select_one[luma], generation_id)
        return self._parse(found[0]) if found else None

    async def read(self, generation_id: str, *, luma: bool = False) -> Representation | None:
        """Read one; None if there is no such row. Concurrent callers share a query."""
        grouped = self._grouped_luma if luma else self._grouped
        return self.read_nowait(generation_id, luma=luma) or await grouped.get(generation_id)

    async def newest(self, upstream: str, limit: int, offset: int) -> list[Representation]:
        """Read the newest generations of an upstream that are not gone."""
        found = await self._database.search(self._select_newest, upstream, limit, offset)
        return [self._parse(row) for row in found]

    async def _read_all(self, ids: list[str], *, luma: bool) -> Mapping[str, Representation]:
        wanted = dump_json(ids) if self._database.dialect is Dialect.SQLITE else ids
        found = await self._database.fetch(self._select_any[luma], wanted)
        return {row[0]: self._parse(row) for row in found}

    def _parse(self, row: Row) -> Representation:
        *values, expires, luma_body, heard_at = row
        rest = expires and as_datetime(expires), luma_body, as_datetime(heard_at)
        parsed = Representation._make([*values, *rest, etag_of(values[1]), None])
        return parsed._replace(good_until=self._good_until(parsed))


def etag_of(body: bytes) -> str:
    """Return a strong entity tag for a body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _select_newest(dialect: Dialect) -> str:
    upstream, limit, offset = (f"{'?' if dialect is Dialect.SQLITE else '$'}{n}" for n in (1, 2, 3))
    return f"""{_select(dialect, luma=True)} WHERE upstream = {upstream} AND gone_at IS NULL
    ORDER BY ordered_at DESC, id DESC LIMIT {limit} OFFSET {offset}"""


def _select(dialect: Dialect, *, luma: bool) -> str:
    return f"""
    SELECT id, {body_sql(dialect)}, rev, upstream, state,
        CAST(assets AS TEXT) <> '{dump_json({})}', gone_at IS NOT NULL, assets_expire_at,
        {luma_body_sql(dialect) if luma else "NULL"}, heard_at
    FROM generations"""  # noqa: S608 - built from constants only


def as_datetime(value: object) -> datetime:
    """Convert a time as the driver returns it: a datetime on PostgreSQL, text on SQLite."""
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
