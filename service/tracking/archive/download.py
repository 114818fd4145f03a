"""Downloads one asset to the staging folder, resumed where an earlier try broke off."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.tracking.archive.assets import content_type_of
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Download, Undeliverable

_CHUNK = 1 << 20  # bytes that are written at once
_DEAD = (401, 403, 404, 410)


class Dead(Exception):
    """The URL no longer leads to the asset."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A whole asset in the staging folder."""

    path: Path
    bytes: int
    sha256: str
    content_type: str


async def download(dialler: Dialler, url: str, staging: Path, key: str) -> Staged:
    """Download an asset.

    What is there of an earlier try is kept if the server confirms, by its ETag, that it is a part
    of the same file.

    Args:
        dialler: sends the request.
        url: of the asset.
        staging: the folder of unfinished files.
        key: what is downloaded; the same for every try.

    Raises:
        Dead: the server no longer has it.
        Undeliverable: it cannot be downloaded now; the next try resumes.
        OSError: the staging folder cannot be written.
    """
    stem = hashlib.sha256(key.encode()).hexdigest()[:32]
    part, tag = staging / f"{stem}.part", staging / f"{stem}.etag"
    known = await asyncio.to_thread(_known, part, tag)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    if known:
        headers |= {"Range": f"bytes={known[0]}-", "If-Range": known[1]}
    async with dialler.download(url, headers) as answer:
        start = _start(answer, known[0] if known else 0, part, tag)
        total = await asyncio.to_thread(_begin, answer, start, part, tag)
        await _receive(answer, part, total)
    size, digest = await asyncio.to_thread(_digest, part)
    if size != total:
        part.unlink()
        raise Undeliverable(f"The asset has {size} bytes instead of {total}.")
    tag.unlink(missing_ok=True)
    return Staged(part, size, digest, content_type_of(answer.headers.get("content-type"), url))


def _known(part: Path, tag: Path) -> tuple[int, str] | None:
    """Return how much of the file is there, and its ETag; None: nothing that can be continued."""
    with suppress(OSError):
        size, etag = part.stat().st_size, tag.read_text("latin-1")
        return (size, etag) if size and etag else None
    return None


def _start(answer: Download, known: int, part: Path, tag: Path) -> int:
    """Return the position of the first byte of the answer."""
    if answer.status in _DEAD:
        raise Dead(f"Answered {answer.status}.")
    if answer.status == 200:
        return 0
    whole = answer.headers.get("content-range", "")
    if answer.status == 206 and known and whole.startswith(f"bytes {known}-"):
        return known
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)
    raise Undeliverable(f"Answered {answer.status}.")


def _begin(answer: Download, start: int, part: Path, tag: Path) -> int:
    """Prepare the file for what comes, and return the size that the whole asset has.

    A strong ETag is what allows to resume; without one, the next try begins anew.
    """
    etag = answer.headers.get("etag", "")
    tag.write_text("" if etag.startswith("W/") else etag, "latin-1")
    if not start:
        part.write_bytes(b"")
    length = answer.headers.get("content-length", "")
    if not length.isdecimal():
        raise Undeliverable("The answer does not say how long it is.")
    return start + int(length)


async def _receive(answer: Download, part: Path, total: int) -> None:
    with await asyncio.to_thread(part.open, "ab") as file:
        waiting = bytearray()
        try:
            async for chunk in answer.chunks:
                waiting += chunk
                if len(waiting) >= _CHUNK:
                    full, waiting = waiting, bytearray()
                    await asyncio.to_thread(file.write, full)
                    if file.tell() > total:
                        break
        finally:  # also what came before the connection broke: the next try resumes there
            file.write(waiting)


def _digest(part: Path) -> tuple[int, str]:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
