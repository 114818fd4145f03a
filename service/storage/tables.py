"""Table definitions.

deliveries   the inbox: every authenticated callback, byte for byte, with tokens redacted
generations  one row per generation: `service.domain.generation.Generation`
events       the history: one row per recorded change of a generation
bindings     the generation that each single-use callback token is bound to
requests     the recent requests to Luma that count against the request budget
readiness    one row, written to check whether the database accepts writes
rewrites     the progress of each rewrite of old rows
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, text
from sqlmodel import Field, SQLModel

MAX_TRIES = 5
"""After this many failed attempts, a delivery is no longer retried automatically.

An error on every attempt means a bug, which needs a person.
"""
_NAMED = "handled_at IS NULL AND generation_id IS NOT NULL"
UNFOLDED = f"{_NAMED} AND tries < {MAX_TRIES}"
"""The SQL condition for deliveries to be folded again. One that names no generation cannot be."""
GIVEN_UP = f"{_NAMED} AND tries >= {MAX_TRIES}"
"""The SQL condition for deliveries that are no longer retried automatically."""


class GenerationRow(SQLModel, table=True):
    """One generation. `service.domain.generation.Generation` explains the fields."""

    __tablename__ = "generations"
    __table_args__ = (
        Index("ix_generations_newest", "ordered_at", "id"),
        Index("ix_generations_changed", "updated_at", "id"),
        Index("ix_generations_by_state", "state", "ordered_at", "id"),
        Index("ix_generations_by_upstream", "upstream", "ordered_at", "id"),
        Index("ix_generations_by_type", "generation_type", "ordered_at", "id"),
        Index("ix_generations_by_operation", "operation", "ordered_at", "id"),
        Index("ix_generations_by_model", "model", "ordered_at", "id"),
        Index(
            "ix_generations_due",
            "upstream",
            "next_check_at",
            sqlite_where=text("next_check_at IS NOT NULL"),
            postgresql_where=text("next_check_at IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=128)
    upstream: str
    state: str
    generation_type: str | None
    operation: str | None
    model: str | None
    prompt: str | None
    created_at: datetime | None
    ordered_at: datetime  # created_at, or first_seen_at until it is reported
    failure_reason: str | None
    failure_code: str | None
    assets: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    outputs: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    assets_expire_at: datetime | None
    request: dict[str, Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    parent_id: str | None
    rev: int
    source: str
    verified: bool
    gone_at: datetime | None
    first_seen_at: datetime
    updated_at: datetime
    heard_at: datetime
    finished_at: datetime | None
    next_check_at: datetime | None
    checks: int
    missing_since: datetime | None
    refusals: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))


class DeliveryRow(SQLModel, table=True):
    """One callback. The same bytes received again count as a duplicate of it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_received", "received_at"),
        Index("ix_deliveries_by_outcome", "outcome", "id"),
        Index(
            "ix_deliveries_unhandled",
            "id",
            sqlite_where=text("handled_at IS NULL"),
            postgresql_where=text("handled_at IS NULL"),
        ),
        Index(
            "ix_deliveries_unfolded",
            "id",
            sqlite_where=text(UNFOLDED),
            postgresql_where=text(UNFOLDED),
        ),
        Index(
            "ix_deliveries_given_up",
            "generation_id",
            sqlite_where=text(GIVEN_UP),
            postgresql_where=text(GIVEN_UP),
        ),
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


class EventRow(SQLModel, table=True):
    """One recorded change of one generation."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_of_generation", "generation_id", "seq"),
        Index("ix_events_at", "at"),
        {"sqlite_autoincrement": True},  # a seq is never reused, even after retention
    )

    seq: int | None = Field(
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )
    generation_id: str = Field(max_length=128)
    from_state: str | None
    to_state: str
    rev: int
    source: str
    at: datetime
    delivery_id: str | None = Field(max_length=36)


class BindingRow(SQLModel, table=True):
    """The only generation that a single-use callback token may report on."""

    __tablename__ = "bindings"

    nonce: str = Field(primary_key=True, max_length=64)
    generation_id: str = Field(max_length=128)
    bound_at: datetime


class RequestRow(SQLModel, table=True):
    """One request to Luma, stored for as long as it counts against the request budget."""

    __tablename__ = "requests"
    __table_args__ = (Index("ix_requests_of_upstream", "upstream", "at"),)

    seq: int | None = Field(
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )
    upstream: str
    purpose: str = Field(sa_column_kwargs={"server_default": "read"})
    at: float = Field(sa_column=Column(Float(53), nullable=False))  # seconds since 1970


class ReadinessRow(SQLModel, table=True):
    """When an instance last checked whether the database accepts writes."""

    __tablename__ = "readiness"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))  # always 1
    asked_at: datetime


class RewriteRow(SQLModel, table=True):
    """The progress of one rewrite of old rows; see `service.storage.rewrites`."""

    __tablename__ = "rewrites"

    name: str = Field(primary_key=True, max_length=64)
    position: str | None  # the key of the last row processed
    done: int  # number of rows processed
    finished_at: datetime | None
