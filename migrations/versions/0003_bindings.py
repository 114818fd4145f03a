"""Create the table of bindings: the generation that each single-use token is bound to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "bindings",
        sa.Column("nonce", sa.String(64), primary_key=True),
        sa.Column("generation_id", sa.String(128), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_table("bindings")
