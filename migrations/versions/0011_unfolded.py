"""Indexes of the deliveries to be folded again: how many others were kept no longer matters."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NAMED = "handled_at IS NULL AND generation_id IS NOT NULL"
_INDEXES = {
    "ix_deliveries_unfolded": ("id", f"{_NAMED} AND tries < 5"),
    "ix_deliveries_given_up": ("generation_id", f"{_NAMED} AND tries >= 5"),
}


def upgrade() -> None:
    """To this revision."""
    for name, (column, told) in _INDEXES.items():
        where = sa.text(told)
        op.create_index(name, "deliveries", [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Back to the one before."""
    for name in reversed(_INDEXES):
        op.drop_index(name, "deliveries")
