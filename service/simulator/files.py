"""Files of the Agents API and their states; without HTTP and without bytes.

pending ── bytes received, INGEST s ──▶ ready | failed          any state ── DELETE ──▶ deleted
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, Field

INGEST = timedelta(seconds=0.5)
"""Time from the last byte, or from `complete`, until a file is ready."""

Purpose = Literal["input", "reference"]
State = Literal["pending", "ready", "failed", "deleted"]


class FileCreate(BaseModel):
    """The JSON body of POST /files."""

    mime_type: str
    size_bytes: int = Field(gt=0, le=5 * 2**30)
    purpose: Purpose = "input"
    expires_at: datetime | None = None
    filename: str | None = None
    user_id: str | None = None


@dataclass(slots=True, kw_only=True)
class File:
    """One file, and when its state changed."""

    id: str
    asked: FileCreate
    created_at: datetime
    key: str = field(default_factory=lambda: str(uuid4()))
    """Where its bytes are stored."""
    received_at: datetime | None = None
    """When its bytes were complete; None: they are not."""
    failure_reason: str | None = None
    deleted_at: datetime | None = None

    def state_at(self, now: datetime) -> State:
        """Return its state at `now`."""
        if self.deleted_at is not None:
            return "deleted"
        if self.received_at is None or now < self.received_at + INGEST:
            return "pending"
        return "failed" if self.failure_reason else "ready"


class Files:
    """All files, deleted ones included."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._by_key: dict[str, File] = {}

    def create(self, asked: FileCreate, now: datetime, file_id: str | None = None) -> File:
        """Create a file; one with the same id is replaced."""
        file = File(id=file_id or str(uuid4()), asked=asked, created_at=now)
        self._files.pop(file.id, None)
        self._files[file.id] = self._by_key[file.key] = file
        return file

    def find(self, file_id: str) -> File | None:
        """Return the file with that id."""
        return self._files.get(file_id)

    def with_key(self, key: str) -> File | None:
        """Return the file whose bytes are stored at `key`."""
        return self._by_key.get(key)

    def newest(self, before: File | None = None) -> Iterator[File]:
        """Yield files, newest first; those older than `before` only, if it is given."""
        newest = reversed(self._files.values())
        if before is not None:
            for file in newest:
                if file is before:
                    break
        yield from newest
