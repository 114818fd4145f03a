"""Add what queries use: indexes of what is open and of children, and the tables of words."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("state NOT IN ('completed', 'failed')")
_HAS_PARENT = sa.text("parent_id IS NOT NULL")


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_index(
        "ix_generations_open",
        "generations",
        ["ordered_at", "id"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index(
        "ix_generations_of_parent",
        "generations",
        ["parent_id", "ordered_at", "id"],
        sqlite_where=_HAS_PARENT,
        postgresql_where=_HAS_PARENT,
    )
    op.create_table(
        "texts",
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("generation_id", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(24), nullable=False),
        sa.Column("text", sa.String()),
    )
    op.create_index("ix_texts_of_generation", "texts", ["generation_id", "digest"], unique=True)
    op.create_table(
        "word_index",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.String(128), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
    )


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.execute("DROP TABLE IF EXISTS trigrams")
    op.drop_table("word_index")
    op.drop_table("texts")
    op.drop_index("ix_generations_of_parent", "generations")
    op.drop_index("ix_generations_open", "generations")
