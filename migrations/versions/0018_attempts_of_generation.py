"""Find attempts to send webhooks by the generation that they are about."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_index("ix_attempts_of_generation", "attempts", ["generation_id", "id"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_attempts_of_generation", "attempts")
