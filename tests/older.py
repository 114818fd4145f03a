"""Rows as an older version of the service has written them."""

from tests.databases import execute, on_postgres

AT = "'2026-05-30 12:00:00.000000'"
OLD = '{"video": "https://v"}'
_FILL = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
    INSERT INTO generations (id, upstream, state, created_at, ordered_at, first_seen_at, updated_at,
        heard_at, rev, source, verified, checks, assets, outputs, request)
    SELECT 'old-' || i, 'dream_machine', 'completed', {at}, {at}, {at}, {at}, {at}, 1, 'callback',
        {true}, 0, '{assets}', '[]', '{{"p": "\\u00fc, 1e+16"}}' FROM n
"""


def fill(url: str, count: int, assets: str = OLD) -> None:
    """Generations whose documents have spaces and escapes."""
    true = "true" if on_postgres() else "1"
    execute(url, _FILL.format(count=count, at=AT, true=true, assets=assets))
