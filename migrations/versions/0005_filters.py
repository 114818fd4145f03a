"""Add an index for every filter of lists, so that pages cost the same however large the table."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_FILTERS = {
    "ix_generations_by_upstream": "upstream",
    "ix_generations_by_type": "generation_type",
    "ix_generations_by_operation": "operation",
    "ix_generations_by_model": "model",
}


def upgrade() -> None:
    """Upgrade to this revision."""
    for name, column in _FILTERS.items():
        op.create_index(name, "generations", [column, "ordered_at", "id"])
    op.drop_index("ix_generations_due", "generations")
    scheduled = sa.text("next_check_at IS NOT NULL")
    op.create_index(
        "ix_generations_due",
        "generations",
        ["upstream", "next_check_at"],
        sqlite_where=scheduled,
        postgresql_where=scheduled,
    )
    op.create_index("ix_deliveries_by_outcome", "deliveries", ["outcome", "id"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_deliveries_by_outcome", "deliveries")
    op.drop_index("ix_generations_due", "generations")
    op.create_index("ix_generations_due", "generations", ["next_check_at"])
    for name in reversed(_FILTERS):
        op.drop_index(name, "generations")
