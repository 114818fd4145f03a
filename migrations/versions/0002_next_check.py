"""Add the time of the next check of each generation, and indexes for checks and retention."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision. Rows that are not verified and settled are due now."""
    with op.batch_alter_table("generations") as table:
        table.add_column(sa.Column("next_check_at", sa.DateTime(timezone=True)))
        table.add_column(sa.Column("checks", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("generations") as table:
        table.alter_column("checks", server_default=None)
    op.execute(
        "UPDATE generations SET next_check_at = heard_at WHERE gone_at IS NULL AND NOT (verified"
        " AND (state = 'failed' OR (state = 'completed' AND CAST(assets AS TEXT) <> '{}')))"
    )
    op.create_index("ix_generations_due", "generations", ["next_check_at"])
    unhandled = sa.text("handled_at IS NULL")
    op.create_index("ix_deliveries_received", "deliveries", ["received_at"])
    op.create_index(
        "ix_deliveries_unhandled",
        "deliveries",
        ["id"],
        sqlite_where=unhandled,
        postgresql_where=unhandled,
    )
    op.create_index("ix_events_at", "events", ["at"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_events_at", "events")
    op.drop_index("ix_deliveries_unhandled", "deliveries")
    op.drop_index("ix_deliveries_received", "deliveries")
    op.drop_index("ix_generations_due", "generations")
    with op.batch_alter_table("generations") as table:
        table.drop_column("checks")
        table.drop_column("next_check_at")
