"""Create a table for the progress of rewrites, which the service runs in the background."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "rewrites",
        sa.Column("name", sa.String(length=64), primary_key=True),
        sa.Column("position", sa.String(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_table("rewrites")
