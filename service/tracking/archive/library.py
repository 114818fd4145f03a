"""The folder or object store that keeps the files of the archive.

A file is staged whole beside the archive (in a folder: `.partial`), and then put in its place in
one step, so that nobody sees a part of it.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from service.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_CHUNK = 1 << 20  # bytes that are read and sent at once
_PART = 8 << 20  # bytes of a part of an upload
_PROBE = ".luma-tracker"
_READ_TIMEOUT = "60s"
_TIMEOUT = "1h"  # for all of a request to an object store: readers may be slow
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=30)


class Library:
    """The files of the archive, by their path.

    Args:
        location: a folder, or the URL of an object store.

    Raises:
        SettingsError: the location is no folder that can be created, and no such URL.
    """

    def __init__(self, location: str) -> None:
        self._folder = None if "://" in location else Path(location).expanduser().absolute()
        try:
            self._store = self._open(location)
        except (OSError, BaseError, ValueError) as error:
            raise SettingsError(
                f"TRACKER_ARCHIVE: {location!r} cannot be opened: {_reason(error)}.",
                "Set it to a folder that you can write, or to s3://bucket/prefix, gs://… or az://…",
            ) from error

    def _open(self, location: str) -> ObjectStore:
        if self._folder is None:
            self.staging = _temporary(location)
            return _remote(location)
        self.staging = self._folder / ".partial"
        self.staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(self._folder)

    def tidy(self, before: datetime) -> None:
        """Delete staged files that nobody has written since `before`."""
        for path in self.staging.iterdir():
            with suppress(OSError):  # another process has finished it
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    async def check(self) -> None:
        """Write, and delete, a small file.

        Raises:
            StoreUnavailable: the archive cannot be written.
        """
        await self.put_bytes(_PROBE, b"")
        await self.delete(_PROBE)

    async def put_file(self, path: str, staged: Path) -> None:
        """Put a staged file in its place; it is not in the staging folder afterwards.

        Raises:
            StoreUnavailable: the archive cannot be written.
        """
        try:
            if self._folder:
                await asyncio.to_thread(_move, staged, self._folder / path)
                return
            await obstore.put_async(self._store, path, staged, chunk_size=_PART, max_concurrency=2)
            await asyncio.to_thread(staged.unlink)
        except (OSError, BaseError) as error:
            raise _unwritable(error) from error

    async def put_bytes(self, path: str, content: bytes) -> None:
        """Write a small file.

        Raises:
            StoreUnavailable: the archive cannot be written.
        """
        try:
            await obstore.put_async(self._store, path, content)
        except (OSError, BaseError) as error:
            raise _unwritable(error) from error

    async def read(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Open a file, and return the bytes from `start` up to before `end`, in chunks.

        Raises:
            FileNotFoundError: there is no such file.
            StoreUnavailable: the file cannot be read.
        """
        if start >= end:
            return _nothing()
        try:
            found = await obstore.get_async(self._store, path, options={"range": (start, end)})
        except FileNotFoundError:
            raise
        except (OSError, BaseError) as error:
            message = f"A file of the archive cannot be read: {type(error).__name__}."
            raise StoreUnavailable(message, "Run `luma-tracker doctor`.") from error
        return _chunks(found)

    async def delete(self, path: str) -> None:
        """Delete a file; it need not exist.

        Raises:
            StoreUnavailable: the archive cannot be written.
        """
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            pass
        except (OSError, BaseError) as error:
            raise _unwritable(error) from error


def _reason(error: Exception) -> str:
    """Return why, in one line: obstore adds a picture of its error in many."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0]


def _temporary(location: str) -> Path:
    """Return a folder on this machine for what is not yet in the object store; nobody else's."""
    name = hashlib.sha256(location.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"luma-tracker-archive-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _remote(location: str) -> ObjectStore:
    """Open an object store. Its keys come from the environment.

    What is given here for the client replaces all that obstore reads of it from there.
    """
    client: ClientConfig = {
        "allow_http": True,  # if the endpoint that is set has no TLS
        "read_timeout": _READ_TIMEOUT,
        "timeout": _TIMEOUT,
    }
    retries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR}
    store: ObjectStore = from_url(location, client_options=client, retry_config=retries)
    return store


async def _chunks(found: "obstore.GetResult") -> AsyncIterator[bytes]:
    async for chunk in found.stream(min_chunk_size=_CHUNK):
        yield bytes(chunk)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    staged.replace(target)


def _unwritable(error: Exception) -> StoreUnavailable:
    message = f"The archive cannot be written: {type(error).__name__}: {str(error)[:200]}"
    return StoreUnavailable(message, "Check TRACKER_ARCHIVE, its rights and its free space.")
