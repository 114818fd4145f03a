"""A row of SQLite's as it is sent, with nothing else made of it on the way.

What takes most of a lookup is to make a `Generation` of a row and text of the `Generation`. Here
times stay the text that they are in the file, and the body has the same bytes all the same.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from service.db import Database
from service.generation import TERMINAL_STATES
from service.shape import INSTANTS, NAMES, Shown, encoded, etag_of

_TERMINAL = f"state IN {TERMINAL_STATES}"
_COLUMNS = ", ".join(_TERMINAL if name == "terminal" else name for name in NAMES)
_FIND = f"SELECT {_COLUMNS}, heard_at, assets_expire_at FROM generations WHERE id = ?"  # noqa: S608


class Glimpse(NamedTuple):
    """What must be known of a row to send it."""

    values: Mapping[str, Any]
    heard_at: datetime
    assets_expire_at: datetime | None

    @property
    def upstream(self) -> str:
        """Whose it is."""
        upstream: str = self.values["upstream"]
        return upstream

    @property
    def state(self) -> str:
        """How far it has come."""
        state: str = self.values["state"]
        return state

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        terminal: bool = self.values["terminal"]
        return terminal

    @property
    def gone_at(self) -> str | None:
        """When Luma no longer knew it."""
        gone_at: str | None = self.values["gone_at"]
        return gone_at

    @property
    def assets(self) -> Mapping[str, str]:
        """The URLs that there are."""
        assets: Mapping[str, str] = self.values["assets"]
        return assets

    def shown(self, good_until: datetime | None) -> Shown:
        """As it is sent."""
        body = encoded(self.values)
        final = self.terminal or self.gone_at is not None
        id_, rev = self.values["id"], self.values["rev"]
        return Shown(id_, rev, body, etag_of(body), self.heard_at, good_until, final)


def glimpse(database: Database, generation_id: str) -> Glimpse | None:
    """The row of that id, without waiting; None also where the database is too far for that."""
    found = database.glance(_FIND, generation_id)
    if not found:
        return None
    *row, heard_at, expires = found[0]
    values = dict(zip(NAMES, row, strict=True))
    for name in INSTANTS:
        if at := values[name]:
            values[name] = f"{at[:10]}T{at[11:]}Z"
    for name in ("assets", "outputs", "request"):
        if document := values[name]:
            values[name] = from_json(document)
    for name in ("terminal", "verified"):
        values[name] = bool(values[name])
    return Glimpse(values, _time(heard_at), _time(expires) if expires else None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
