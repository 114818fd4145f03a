"""What each request to Luma was for, so that no purpose takes the share of another."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column(
        "requests", sa.Column("purpose", sa.String(), nullable=False, server_default="read")
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("requests", "purpose")
