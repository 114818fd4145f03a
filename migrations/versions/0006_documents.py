"""Documents in the words in which they are sent: see `service.storage.rewrites`."""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision. Nothing has to be done at once: documents in other words are read, too."""


def downgrade() -> None:
    """Back to the one before."""
