"""Count the failed attempts to fold each delivery, so that their number can be limited."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column(
        "deliveries", sa.Column("tries", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_column("deliveries", "tries")
