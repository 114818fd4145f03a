"""Remember which assets the archive's limit has deleted; `archived` in the view of generations.

What the limit has deleted is not copied again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_KEPT = sa.text("evicted_at IS NULL")
_VIEW = """
VIEW luma_generations AS SELECT
    id, upstream, state, state IN ('completed', 'failed') AS terminal, generation_type, operation,
    model, prompt, created_at, failure_reason, failure_code, {video} AS video_url,
    {image} AS image_url, parent_id, cost_usd_estimate, rev, source, verified, gone_at,
    first_seen_at, updated_at, finished_at, {took} AS took_seconds{more}
FROM generations
"""
_ARCHIVED = ", archived IS NOT NULL AS archived"
_SQLITE = {
    "video": "json_extract(assets, '$.video')",
    "image": "json_extract(assets, '$.image')",
    "took": """strftime('%s', substr(finished_at, 1, 19))
        - strftime('%s', substr(created_at, 1, 19))
        + (substr(finished_at, 21) - substr(created_at, 21)) / 1e6""",
}
_POSTGRES = {
    "video": "assets ->> 'video'",
    "image": "assets ->> 'image'",
    "took": "extract(epoch FROM finished_at - created_at)",
}


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
    _make_view("CREATE OR REPLACE", _ARCHIVED)


def downgrade() -> None:
    """Downgrade to the previous revision."""
    op.drop_index("ix_archived_files_kept", "archived_files")
    op.execute("DELETE FROM archived_files WHERE evicted_at IS NOT NULL")
    op.drop_column("archived_files", "evicted_at")
    op.create_index("ix_archived_files_at", "archived_files", ["at"])
    op.execute("DROP VIEW luma_generations")
    _make_view("CREATE", "")


def _make_view(create: str, more: str) -> None:
    """Make the view; on PostgreSQL, a column more leaves the views that others have made of it."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(create + _VIEW.format(**_POSTGRES, more=more))
        return
    op.execute("DROP VIEW IF EXISTS luma_generations")
    connection.exec_driver_sql("CREATE" + _VIEW.format(**_SQLITE, more=more))
