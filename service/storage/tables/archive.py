"""Tables of the archive."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index, Integer
from sqlmodel import Field, SQLModel

from service.storage.tables.indexes import partial_index


class ArchiveRow(SQLModel, table=True):
    """How much is kept. There is a row once a service with an archive has run."""

    __tablename__ = "archive"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False))


class CopyRow(SQLModel, table=True):
    """A generation whose assets are to be copied."""

    __tablename__ = "copies"
    __table_args__ = (Index("ix_copies_due", "next_at"),)

    generation_id: str = Field(primary_key=True, max_length=128)
    next_at: datetime | None  # the next try, or the end of a claim; None: given up
    tries: int
    error: str | None


class ArchivedFileRow(SQLModel, table=True):
    """One asset that is kept, or was until the limit deleted it."""

    __tablename__ = "archived_files"
    __table_args__ = (partial_index("ix_archived_files_kept", "at", where="evicted_at IS NULL"),)

    generation_id: str = Field(primary_key=True, max_length=128)
    name: str = Field(primary_key=True, max_length=32)
    path: str
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str = Field(max_length=64)
    content_type: str
    at: datetime
    evicted_at: datetime | None  # None: it is kept
