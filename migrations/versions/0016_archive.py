"""Add the archive: which assets are kept, which are still to be copied, and how much is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column("generations", sa.Column("archived", sa.JSON()))
    op.create_table(
        "archive",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "copies",
        sa.Column("generation_id", sa.String(128), primary_key=True),
        sa.Column("next_at", _WHEN),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.String()),
    )
    op.create_index("ix_copies_due", "copies", ["next_at"])
    op.create_table(
        "archived_files",
        sa.Column("generation_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("at", _WHEN, nullable=False),
    )
    op.create_index("ix_archived_files_at", "archived_files", ["at"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    for table in ("archived_files", "copies", "archive"):
        op.drop_table(table)
    op.drop_column("generations", "archived")
