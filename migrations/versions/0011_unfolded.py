"""Add indexes of unfolded deliveries, so that finding them does not depend on the others."""

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
    """Upgrade to this revision."""
    for name, (column, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "deliveries", [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Downgrade to the previous revision."""
    for name in reversed(_INDEXES):
        op.drop_index(name, "deliveries")
