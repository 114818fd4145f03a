"""The Files API of the Agents API: inline and presigned uploads, and their records."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response, status
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from service.simulator.clock import Clock
from service.simulator.files import File, FileCreate, Files, Purpose, State
from service.simulator.presigned import EXPIRES
from service.simulator.storage import Storage

_PART = 65_536
_USUAL = FileCreate(mime_type="image/png", size_bytes=1)
"""A file that was never uploaded, for Luma's own SDK tests."""


class AgentsFiles:
    """The routes' functions."""

    def __init__(
        self, files: Files, storage: Storage, clock: Clock, *, accept_any_id: bool
    ) -> None:
        self._files = files
        self._storage = storage
        self._clock = clock
        self._accept_any_id = accept_any_id

    async def create(self, request: Request) -> dict[str, Any]:
        """Create a file: with its bytes if they are in the body, else with a URL to PUT them to."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            file, upload = await self._create_inline(request), None
        else:
            file = self._files.create(_validate_json(await request.body()), self._now())
            upload = self._upload(file)
        answer = self._answer(file)
        return {"id": file.id, "state": answer["state"], "file": answer, "upload": upload}

    async def list_newest(
        self,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 25,
        purpose: Purpose | None = None,
        state: State | None = None,
    ) -> dict[str, Any]:
        """Answer a page; deleted files are listed only if they are asked for."""
        found = (
            file
            for file in self._files.newest(self._before(cursor))
            if purpose in (None, file.asked.purpose) and self._is_in(file, state)
        )
        page = list(islice(found, limit))
        has_more = next(found, None) is not None
        return {
            "data": [self._answer(file) for file in page],
            "has_more": has_more,
            "next_cursor": _encode(page[-1].id) if has_more else None,
        }

    async def get(self, file_id: str) -> dict[str, Any]:
        return self._answer(self._find(file_id))

    async def delete(self, file_id: str) -> Response:
        self._find(file_id).deleted_at = self._now()
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    async def complete(self, file_id: str) -> dict[str, Any]:
        file = self._find(file_id)
        if file.received_at is None:
            self._ingest(file)
        return self._answer(file)

    async def _create_inline(self, request: Request) -> File:
        form = await request.form()
        try:
            sent = form.get("file")
            if not isinstance(sent, UploadFile):
                raise _invalid([{"loc": ("file",), "msg": "Field required"}])
            file = self._files.create(_described(sent, form), self._now())
            await self._storage.write(file, _parts(sent))
        finally:
            _close(form)
        file.received_at = self._now()
        return file

    def _ingest(self, file: File) -> None:
        """Take the uploaded bytes; a file of another size than was announced fails."""
        size, announced = self._storage.size(file), file.asked.size_bytes
        if size is None:
            detail = "No bytes were uploaded: PUT them to upload.url first"
            raise HTTPException(status.HTTP_400_BAD_REQUEST, detail)
        if size != announced:
            file.failure_reason = f"{size} bytes were uploaded, {announced} were announced"
        file.received_at = self._now()

    def _find(self, file_id: str) -> File:
        """Return the file; under `accept_any_id`, one that is unknown or deleted is made anew."""
        file = self._files.find(file_id)
        if self._accept_any_id and (file is None or file.deleted_at is not None):
            file = self._files.create(_USUAL, self._now(), file_id)
            file.received_at = self._now()
        if file is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "File not found")
        return file

    def _before(self, cursor: str | None) -> File | None:
        """Return the last file of the page before."""
        file = self._files.find(_decode(cursor)) if cursor is not None else None
        if cursor is not None and file is None and not self._accept_any_id:
            raise HTTPException(status.HTTP_400_BAD_REQUEST, "Invalid cursor")
        return file

    def _is_in(self, file: File, state: State | None) -> bool:
        now = file.state_at(self._now())
        return now != "deleted" if state is None else now == state

    def _upload(self, file: File) -> dict[str, Any]:
        now = self._now()
        return {
            "url": self._storage.upload_url(file, now),
            "method": "PUT",
            "headers": {"Content-Type": file.asked.mime_type},
            "expires_at": _time(now + timedelta(seconds=EXPIRES)),
        }

    def _answer(self, file: File) -> dict[str, Any]:
        state = file.state_at(self._now())
        return {
            "id": file.id,
            "created_at": _time(file.created_at),
            "mime_type": file.asked.mime_type,
            "purpose": file.asked.purpose,
            "size_bytes": file.asked.size_bytes,
            "state": state,
            "deleted_at": _time(file.deleted_at),
            "expires_at": _time(file.asked.expires_at),
            "failure_reason": file.failure_reason if state == "failed" else None,
            "filename": file.asked.filename,
            "user_id": file.asked.user_id,
        }

    def _now(self) -> datetime:
        return self._clock.now()


def add_files(app: FastAPI, routes: AgentsFiles) -> None:
    """Add the routes to the Agents API."""
    app.post("/files", status_code=status.HTTP_201_CREATED)(routes.create)
    app.get("/files")(routes.list_newest)
    app.get("/files/{file_id}")(routes.get)
    app.delete("/files/{file_id}")(routes.delete)
    app.post("/files/{file_id}/complete")(routes.complete)


def _described(sent: UploadFile, form: FormData) -> FileCreate:
    """Return what the parts of an inline upload say of the file."""
    fields = {"mime_type": sent.content_type, "size_bytes": sent.size, "filename": sent.filename}
    return _validate({**fields, **form})


def _validate(fields: dict[str, Any]) -> FileCreate:
    try:
        return FileCreate.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error.errors()) from error


def _validate_json(body: bytes) -> FileCreate:
    try:
        return FileCreate.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error.errors()) from error


def _invalid(errors: list[Any]) -> RequestValidationError:
    return RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in errors])


async def _parts(sent: UploadFile) -> AsyncIterator[bytes]:
    while part := sent.file.read(_PART):
        yield part
        await asyncio.sleep(0)  # other requests go on meanwhile


def _close(form: FormData) -> None:
    """Close what was sent, without awaiting: a cancelled request would leave it open."""
    for value in form.values():
        if isinstance(value, UploadFile):
            value.file.close()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _encode(file_id: str) -> str:
    """Return the cursor after that file."""
    return base64.urlsafe_b64encode(file_id.encode()).decode()


def _decode(cursor: str) -> str:
    """Return the file's id; a cursor that is none of ours gives no id that exists."""
    try:
        return base64.urlsafe_b64decode(cursor).decode()
    except ValueError:
        return ""
