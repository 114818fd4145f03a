"""Create the tables generations, deliveries and events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SEQ = sa.BigInteger().with_variant(
    sa.Integer(), "sqlite"
)  # SQLite autoincrements INTEGER keys only


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "generations",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation_type", sa.String()),
        sa.Column("operation", sa.String()),
        sa.Column("model", sa.String()),
        sa.Column("prompt", sa.String()),
        sa.Column("created_at", _TIME),
        sa.Column("ordered_at", _TIME, nullable=False),
        sa.Column("failure_reason", sa.String()),
        sa.Column("failure_code", sa.String()),
        sa.Column("assets", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("assets_expire_at", _TIME),
        sa.Column("request", sa.JSON()),
        sa.Column("parent_id", sa.String()),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("gone_at", _TIME),
        sa.Column("first_seen_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("heard_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
    )
    op.create_index("ix_generations_newest", "generations", ["ordered_at", "id"])
    op.create_index("ix_generations_changed", "generations", ["updated_at", "id"])
    op.create_index("ix_generations_by_state", "generations", ["state", "ordered_at", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("generation_id", sa.String(128)),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("handled_at", _TIME),
    )
    op.create_index("ix_deliveries_generation_id", "deliveries", ["generation_id"])
    op.create_table(
        "events",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("generation_id", sa.String(128), nullable=False),
        sa.Column("from_state", sa.String()),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("delivery_id", sa.String(36)),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_of_generation", "events", ["generation_id", "seq"])


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_table("events")
    op.drop_table("deliveries")
    op.drop_table("generations")
