"""Store the purpose of each request to Luma, so that each purpose has a reserved share."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column(
        "requests", sa.Column("purpose", sa.String(), nullable=False, server_default="read")
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_column("requests", "purpose")
