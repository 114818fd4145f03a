"""Add the indexes that queries use: of what is open, and of the children of a generation."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OPEN = sa.text("state NOT IN ('completed', 'failed')")
_HAS_PARENT = sa.text("parent_id IS NOT NULL")


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_index(
        "ix_generations_open",
        "generations",
        ["ordered_at", "id"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index(
        "ix_generations_of_parent",
        "generations",
        ["parent_id", "ordered_at", "id"],
        sqlite_where=_HAS_PARENT,
        postgresql_where=_HAS_PARENT,
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_generations_of_parent", "generations")
    op.drop_index("ix_generations_open", "generations")
