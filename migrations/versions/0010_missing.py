"""Store since when an upstream has not known a generation, and how often it refused a check."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column("generations", sa.Column("missing_since", sa.DateTime(timezone=True)))
    op.add_column(
        "generations", sa.Column("refusals", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_column("generations", "refusals")
    op.drop_column("generations", "missing_since")
