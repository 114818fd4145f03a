"""Creates through the gateway, and the walks through lists of older generations."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from service.storage.tables.indexes import partial_index


class SubmissionRow(SQLModel, table=True):
    """One create. `service.storage.submissions` explains the fields."""

    __tablename__ = "submissions"
    __table_args__ = (
        Index("ix_submissions_repeated", "token_digest", "body_digest", "created_at"),
        Index("ix_submissions_created", "created_at"),
        partial_index("ix_submissions_lost", "next_search_at", where="next_search_at IS NOT NULL"),
    )

    id: str = Field(primary_key=True, max_length=36)
    upstream: str
    path: str
    token_digest: str = Field(max_length=64)
    key_digest: str | None = Field(unique=True, max_length=64)
    body_digest: str = Field(max_length=64)
    nonce: str | None = Field(unique=True, max_length=64)
    callback_url: str | None
    parent_id: str | None = Field(max_length=128)
    request: dict[str, Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    state: str
    generation_id: str | None = Field(index=True, max_length=128)
    status: int | None
    answer: bytes | None
    headers: dict[str, str] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    delivered: bool
    created_at: datetime
    settled_at: datetime | None
    expires_at: datetime
    next_search_at: datetime | None
    searches: int


class BackfillRow(SQLModel, table=True):
    """The newest walk through an upstream's list. `service.storage.backfills` explains it."""

    __tablename__ = "backfills"

    upstream: str = Field(primary_key=True)
    state: str
    since: datetime | None
    everything: bool
    position: int
    last_ids: list[str] = Field(sa_column=Column(JSON, nullable=False))
    newest: datetime | None
    oldest: datetime | None
    known_until: datetime | None
    pages: int
    seen: int
    new: int
    error: str | None
    failure: str | None
    started_at: datetime
    owner: str = Field(max_length=36)
    heard_at: datetime
    finished_at: datetime | None
