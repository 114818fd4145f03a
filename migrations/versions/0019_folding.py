"""Fold case alike everywhere: a function on PostgreSQL, and an index of words that is filled anew.

The texts of the index are stored folded from now on. The service fills it behind its requests.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_WAYS = {
    "pg_c_utf8": 'lower({} COLLATE "pg_c_utf8")',
    "default": "lower({})",
    "C.utf8": 'lower({} COLLATE "C.utf8")',
    "en_US.utf8": 'lower({} COLLATE "en_US.utf8")',
    "und-x-icu": """lower(replace({}, 'İ', 'i') COLLATE "und-x-icu")""",
}
"""Ways to fold, by the collation that each needs, best first: the first is quick, and the same on
all systems. The database's own may be C, which knows ASCII only, or turn I into ı."""
_COLLATIONS = """SELECT collname FROM pg_collation
    WHERE collnamespace = 'pg_catalog'::regnamespace AND getdatabaseencoding() = 'UTF8'
    AND collencoding IN (-1, pg_char_to_encoding('UTF8'))"""
_FUNCTION = """CREATE FUNCTION luma_fold(text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$SELECT {}$$"""


def upgrade() -> None:
    """Upgrade to this revision."""
    _empty_index_of_words()
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(_FUNCTION.format(_way().format("$1")))


def downgrade() -> None:
    """Downgrade to the previous revision."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION luma_fold(text)")
    _empty_index_of_words()


def _way() -> str:
    found = {name for (name,) in op.get_bind().exec_driver_sql(_COLLATIONS)}
    for name, way in _WAYS.items():
        if name in found and _folds(way):
            return way
    return _WAYS["default"]


def _folds(way: str) -> bool:
    folded = way.format("'ÉЖΣIİ'")
    return bool(op.get_bind().exec_driver_sql(f"SELECT {folded} = 'éжσii'").scalar())


def _empty_index_of_words() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.execute("DROP TABLE IF EXISTS trigrams")
    op.execute("DROP INDEX IF EXISTS ix_texts_trigrams")
    op.execute("TRUNCATE texts" if is_postgres else "DELETE FROM texts")
    op.execute("DELETE FROM word_index")
