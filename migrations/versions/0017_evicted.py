"""Remember which assets the limit of the archive has deleted, so that they are not copied again."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_KEPT = sa.text("evicted_at IS NULL")


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column("archived_files", sa.Column("evicted_at", sa.DateTime(timezone=True)))
    op.drop_index("ix_archived_files_at", "archived_files")
    op.create_index(
        "ix_archived_files_kept",
        "archived_files",
        ["at"],
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_archived_files_kept", "archived_files")
    op.execute("DELETE FROM archived_files WHERE evicted_at IS NOT NULL")
    op.drop_column("archived_files", "evicted_at")
    op.create_index("ix_archived_files_at", "archived_files", ["at"])
