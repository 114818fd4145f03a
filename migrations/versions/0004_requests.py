"""Create the table of requests to Luma, so that all instances share one request budget."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "requests",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_requests_of_upstream", "requests", ["upstream", "at"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_table("requests")
