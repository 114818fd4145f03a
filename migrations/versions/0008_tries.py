"""How often folding a delivery has failed, so that it is given up some time."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column(
        "deliveries", sa.Column("tries", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("deliveries", "tries")
