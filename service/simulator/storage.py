"""Keeps uploaded bytes on disk, and serves them at presigned URLs as S3 does."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from fastapi import status
from starlette.requests import Request
from starlette.responses import Response

from service.simulator import stored_bytes
from service.simulator.clock import Clock
from service.simulator.files import File, Files
from service.simulator.presigned import presign, refusal, s3_error


class Storage:
    """The bytes of files, below `folder`; `url` is where its routes are."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    def upload_url(self, file: File, now: datetime) -> str:
        """Return the URL to PUT the file's bytes to; GET of it answers them."""
        return presign(f"{self._url}/{file.key}", now)

    def path(self, file: File) -> Path:
        """Return where the file's bytes are."""
        return self._folder / file.key

    def size(self, file: File) -> int | None:
        """Return how many bytes are stored; None: there are none yet."""
        path = self.path(file)
        return path.stat().st_size if path.exists() else None

    async def write(self, file: File, parts: AsyncIterator[bytes]) -> None:
        """Store the bytes, all or none; they are never held in memory together."""
        await stored_bytes.write(self.path(file), parts)


class StorageServer:
    """The functions of the routes below `/storage`."""

    def __init__(self, storage: Storage, files: Files, clock: Clock) -> None:
        self._storage = storage
        self._files = files
        self._clock = clock

    async def put(self, request: Request) -> Response:
        file = self._find(request)
        if isinstance(file, Response):
            return file
        if request.headers.get("content-type") != file.asked.mime_type:
            message = f"The URL was signed for the Content-Type {file.asked.mime_type}"
            return s3_error(status.HTTP_403_FORBIDDEN, "SignatureDoesNotMatch", message)
        await self._storage.write(file, request.stream())
        return Response()

    async def get(self, request: Request) -> Response:
        file = self._find(request)
        if isinstance(file, Response):
            return file
        if self._storage.size(file) is None:
            return _no_such_key()
        return stored_bytes.answer(request, self._storage.path(file), file.asked.mime_type)

    def _find(self, request: Request) -> File | Response:
        """Return the file of the URL, or S3's refusal."""
        if refused := refusal(request.query_params, self._clock.now()):
            return refused
        return self._files.with_key(request.path_params["key"]) or _no_such_key()


def _no_such_key() -> Response:
    message = "The specified key does not exist."
    return s3_error(status.HTTP_404_NOT_FOUND, "NoSuchKey", message)
