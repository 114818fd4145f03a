"""What the service keeps about itself."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Float, Index, Integer
from sqlmodel import Field, SQLModel


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


class TextRow(SQLModel, table=True):
    """A text that a generation has had; see `service.storage.words`."""

    __tablename__ = "texts"
    __table_args__ = (Index("ix_texts_of_generation", "generation_id", "digest", unique=True),)

    number: int | None = Field(
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )
    generation_id: str = Field(max_length=128)
    digest: str = Field(max_length=24)
    text: str | None  # folded; null on SQLite, which keeps the trigrams alone


class WordIndexRow(SQLModel, table=True):
    """What the index of words contains."""

    __tablename__ = "word_index"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))  # always 1
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))  # the last event
    position: str = Field(max_length=128)  # the last of the generations that were there before
    is_complete: bool  # whether all of these are indexed
