"""What is sent to others: endpoints, messages and attempts."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Column, Index, Integer
from sqlmodel import Field, SQLModel

from service.storage.tables.indexes import partial_index


class WebhookRow(SQLModel, table=True):
    """One endpoint that receives changes of state."""

    __tablename__ = "webhooks"

    id: str = Field(primary_key=True, max_length=36)
    url: str
    states: list[str] | None = Field(sa_column=Column(JSON(none_as_null=True)))  # null: all
    generation_id: str | None = Field(max_length=128)  # null: all
    q: str | None
    enabled: bool
    created_at: datetime


class MessageRow(SQLModel, table=True):
    """One message to one endpoint, about one change of state."""

    __tablename__ = "outbox"
    __table_args__ = (
        partial_index("ix_outbox_due", "destination", "next_at", where="next_at IS NOT NULL"),
        partial_index("ix_outbox_order", "generation_id", where="next_at IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )
    id: str = Field(max_length=36)  # the same for every attempt: the header `webhook-id`
    webhook_id: str = Field(max_length=36)  # empty: the creator's own callback URL
    generation_id: str = Field(max_length=128)  # empty: a test
    destination: str  # the endpoint, or where a creator's URL leads; each is served fairly
    state: str
    created_at: datetime
    tries: int
    next_at: datetime | None  # when the next attempt is due; null: delivered, or given up
    outcome: str | None  # null: not finished
    body: bytes


class AttemptRow(SQLModel, table=True):
    """One attempt to send one message."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_of_webhook", "webhook_id", "id"),
        Index("ix_attempts_of_generation", "generation_id", "id"),
        Index("ix_attempts_at", "at"),
    )

    id: str = Field(primary_key=True, max_length=36)
    message_seq: int = Field(sa_column=Column(BigInteger(), nullable=False))
    webhook_id: str = Field(max_length=36)  # as in the message
    generation_id: str = Field(max_length=128)
    at: datetime
    state: str
    status: int | None
    error: str | None
    next_at: datetime | None
