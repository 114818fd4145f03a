"""Documents in the words in which they are sent, so that SQLite can answer as they stand."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from pydantic_core import from_json, to_json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_FIND = sa.text(
    "SELECT id, assets, outputs, request FROM generations WHERE id > :after ORDER BY id LIMIT :most"
)
_SET = sa.text(
    "UPDATE generations SET assets = :assets, outputs = :outputs, request = :request WHERE id = :id"
)


def upgrade() -> None:
    """To this revision. PostgreSQL's are read by us, whatever their words."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    for rows in _all(connection):
        connection.execute(_SET, [{"id": id_, **_said_anew(told)} for id_, told in rows])


def downgrade() -> None:
    """Back to the one before, which reads any words."""


def _all(connection: sa.Connection) -> Iterator[list[tuple[str, dict[str, str | None]]]]:
    after = ""
    while rows := connection.execute(_FIND, {"after": after, "most": _AT_ONCE}).mappings().all():
        yield [(row["id"], {name: row[name] for name in row if name != "id"}) for row in rows]
        after = rows[-1]["id"]


def _said_anew(told: dict[str, str | None]) -> dict[str, str | None]:
    return {name: text and to_json(from_json(text)).decode() for name, text in told.items()}
