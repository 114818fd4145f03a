"""Add the counters that statistics are answered from, and views for tools that read SQL.

Counters of older generations are filled behind the service.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_GENERATIONS = """
CREATE VIEW luma_generations AS SELECT
    id, upstream, state, {terminal} AS terminal, generation_type, operation, model, prompt,
    created_at, failure_reason, failure_code, {video} AS video_url, {image} AS image_url, parent_id,
    cost_usd_estimate, rev, source, verified, gone_at, first_seen_at, updated_at, finished_at,
    {took} AS took_seconds
FROM generations
"""
_EVENTS = """
CREATE VIEW luma_events AS SELECT
    seq, generation_id, from_state, to_state, rev, source, at
FROM events
"""
_COSTS = """
CREATE VIEW luma_costs_daily AS SELECT
    {day} AS day, upstream, operation, model,
    sum(CASE WHEN name = 'state' THEN value ELSE 0 END) AS generations,
    sum(CASE WHEN name = 'state' AND key = 'completed' THEN value ELSE 0 END) AS completed,
    sum(CASE WHEN name = 'state' AND key = 'failed' THEN value ELSE 0 END) AS failed,
    sum(CASE WHEN name = 'cost' THEN value ELSE 0 END) / 1000000.0 AS cost_usd_estimate
FROM counters WHERE name IN ('state', 'cost') GROUP BY day, upstream, operation, model
"""
_SQLITE = {
    "terminal": "state IN ('completed', 'failed')",
    "video": "json_extract(assets, '$.video')",
    "image": "json_extract(assets, '$.image')",
    "took": """strftime('%s', substr(finished_at, 1, 19))
        - strftime('%s', substr(created_at, 1, 19))
        + (substr(finished_at, 21) - substr(created_at, 21)) / 1e6""",
    "day": "day",
}
_POSTGRES = {
    "terminal": "state IN ('completed', 'failed')",
    "video": "assets ->> 'video'",
    "image": "assets ->> 'image'",
    "took": "extract(epoch FROM finished_at - created_at)",
    "day": "CAST(day AS date)",
}


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "counters",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("upstream", sa.String(64), primary_key=True),
        sa.Column("operation", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )
    words = _POSTGRES if op.get_bind().dialect.name == "postgresql" else _SQLITE
    for view in (_GENERATIONS, _EVENTS, _COSTS):
        op.get_bind().exec_driver_sql(view.format(**words))


def downgrade() -> None:
    """Downgrade to the previous revision."""
    for view in ("luma_costs_daily", "luma_events", "luma_generations"):
        op.execute(f"DROP VIEW {view}")
    op.drop_table("counters")
