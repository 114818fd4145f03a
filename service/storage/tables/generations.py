"""Generations, their history, and how long they took."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer
from sqlmodel import Field, SQLModel

from service.domain.generation import TERMINAL_STATES
from service.storage.tables.indexes import partial_index

TERMINAL = f"state IN {TERMINAL_STATES}"
"""The SQL condition for generations that are finished."""
OPEN = f"state NOT IN {TERMINAL_STATES}"
"""The SQL condition for generations that are not finished. Databases compare the text of it with
that of the index."""


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
        partial_index("ix_generations_open", "ordered_at", "id", where=OPEN),
        partial_index(
            "ix_generations_of_parent",
            "parent_id",
            "ordered_at",
            "id",
            where="parent_id IS NOT NULL",
        ),
        partial_index(
            "ix_generations_due", "upstream", "next_check_at", where="next_check_at IS NOT NULL"
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
    callback_url: str | None
    cost_usd_estimate: float | None = Field(sa_column=Column(Float(53)))
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
    archived: dict[str, Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    document: str | None


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


class DurationRow(SQLModel, table=True):
    """How many generations of a kind took about as long as the bucket says."""

    __tablename__ = "durations"

    kind: str = Field(primary_key=True)
    bucket: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    count: int


class CounterRow(SQLModel, table=True):
    """A counter that statistics are answered from; see `service.domain.counting`."""

    __tablename__ = "counters"

    name: str = Field(primary_key=True, max_length=16)
    day: str = Field(primary_key=True, max_length=10)
    upstream: str = Field(primary_key=True, max_length=64)
    operation: str = Field(primary_key=True, max_length=64)
    model: str = Field(primary_key=True, max_length=64)
    key: str = Field(primary_key=True, max_length=160)
    value: int = Field(sa_column=Column(BigInteger, nullable=False))
