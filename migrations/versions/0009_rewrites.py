"""How far each rewriting of rows has come; the service does it behind its back, in batches."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "rewrites",
        sa.Column("name", sa.String(length=64), primary_key=True),
        sa.Column("position", sa.String(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("rewrites")
