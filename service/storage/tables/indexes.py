"""How indexes are declared."""

from sqlalchemy import Index, text


def partial_index(name: str, *columns: str, where: str) -> Index:
    """Return an index of the rows that meet a condition, on both databases."""
    condition = text(where)
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition)
