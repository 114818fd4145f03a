"""Store what creates, webhooks, backfills and the schedule of checks need.

Generations also store Luma's own document, which the gateway answers with, their estimated cost,
and the URL that their creator wants called.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column("generations", sa.Column("callback_url", sa.String()))
    op.add_column("generations", sa.Column("cost_usd_estimate", sa.Float(53)))
    op.add_column("generations", sa.Column("document", sa.String()))
    _create_submissions()
    _create_webhooks()
    _create_outbox()
    _create_attempts()
    op.create_table(
        "durations",
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    _create_backfills()


def downgrade() -> None:
    """Downgrade to the previous revision."""
    for table in ("backfills", "durations", "attempts", "outbox", "webhooks", "submissions"):
        op.drop_table(table)
    for column in ("document", "cost_usd_estimate", "callback_url"):
        op.drop_column("generations", column)


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(64), nullable=False),
        sa.Column("key_digest", sa.String(64), unique=True),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), unique=True),
        sa.Column("callback_url", sa.String()),
        sa.Column("parent_id", sa.String(128)),
        sa.Column("request", sa.JSON()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation_id", sa.String(128)),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.LargeBinary()),
        sa.Column("headers", sa.JSON()),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.Column("settled_at", _WHEN),
        sa.Column("expires_at", _WHEN, nullable=False),
        sa.Column("next_search_at", _WHEN),
        sa.Column("searches", sa.Integer(), nullable=False),
    )
    op.create_index("ix_submissions_generation_id", "submissions", ["generation_id"])
    repeated = ["token_digest", "body_digest", "created_at"]
    op.create_index("ix_submissions_repeated", "submissions", repeated)
    op.create_index("ix_submissions_created", "submissions", ["created_at"])
    _create_partial_index(
        "ix_submissions_lost", "submissions", ["next_search_at"], "next_search_at"
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("states", sa.JSON()),
        sa.Column("generation_id", sa.String(128)),
        sa.Column("q", sa.String()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("webhook_id", sa.String(36), nullable=False),
        sa.Column("generation_id", sa.String(128), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", _WHEN),
        sa.Column("outcome", sa.String()),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sqlite_autoincrement=True,
    )
    _create_partial_index("ix_outbox_due", "outbox", ["destination", "next_at"], "next_at")
    _create_partial_index("ix_outbox_order", "outbox", ["generation_id"], "next_at")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("message_seq", sa.BigInteger(), nullable=False),
        sa.Column("webhook_id", sa.String(36), nullable=False),
        sa.Column("generation_id", sa.String(128), nullable=False),
        sa.Column("at", _WHEN, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.String()),
        sa.Column("next_at", _WHEN),
    )
    op.create_index("ix_attempts_of_webhook", "attempts", ["webhook_id", "id"])
    op.create_index("ix_attempts_at", "attempts", ["at"])


def _create_backfills() -> None:
    op.create_table(
        "backfills",
        sa.Column("upstream", sa.String(), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", _WHEN),
        sa.Column("everything", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("last_ids", sa.JSON(), nullable=False),
        sa.Column("newest", _WHEN),
        sa.Column("oldest", _WHEN),
        sa.Column("known_until", _WHEN),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("failure", sa.String()),
        sa.Column("started_at", _WHEN, nullable=False),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("heard_at", _WHEN, nullable=False),
        sa.Column("finished_at", _WHEN),
    )


def _create_partial_index(name: str, table: str, columns: list[str], known: str) -> None:
    where = sa.text(f"{known} IS NOT NULL")
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
