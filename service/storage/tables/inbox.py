"""The inbox: callbacks as they were received, and the tokens that they came with."""

from datetime import datetime

from sqlalchemy import Column, Index, Integer
from sqlmodel import Field, SQLModel

from service.storage.tables.indexes import partial_index

MAX_TRIES = 5
"""After this many failed attempts, a delivery is no longer retried automatically.

An error on every attempt means a bug, which needs a person.
"""
_NAMED = "handled_at IS NULL AND generation_id IS NOT NULL"
UNFOLDED = f"{_NAMED} AND tries < {MAX_TRIES}"
"""The SQL condition for deliveries to be folded again. One that names no generation cannot be."""
GIVEN_UP = f"{_NAMED} AND tries >= {MAX_TRIES}"
"""The SQL condition for deliveries that are no longer retried automatically."""


class DeliveryRow(SQLModel, table=True):
    """One callback. The same bytes received again count as a duplicate of it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_received", "received_at"),
        Index("ix_deliveries_by_outcome", "outcome", "id"),
        partial_index("ix_deliveries_unhandled", "id", where="handled_at IS NULL"),
        partial_index("ix_deliveries_unfolded", "id", where=UNFOLDED),
        partial_index("ix_deliveries_given_up", "generation_id", where=GIVEN_UP),
    )

    id: str = Field(primary_key=True, max_length=36)
    digest: str = Field(unique=True, max_length=64)  # SHA-256 of the received body, hexadecimal
    body: bytes
    received_at: datetime
    generation_id: str | None = Field(index=True, max_length=128)
    outcome: str
    error: str | None
    duplicates: int
    handled_at: datetime | None  # null: not folded yet
    tries: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))  # failed ones


class BindingRow(SQLModel, table=True):
    """The only generation that a single-use callback token may report on."""

    __tablename__ = "bindings"

    nonce: str = Field(primary_key=True, max_length=64)
    generation_id: str = Field(max_length=128)
    bound_at: datetime
