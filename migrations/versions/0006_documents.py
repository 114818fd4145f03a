"""Store JSON in the form in which it is sent: see `service.storage.rewrites`."""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision. Nothing to do: readers accept the old form too."""


def downgrade() -> None:
    """Downgrade to the previous revision."""
