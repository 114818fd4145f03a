"""Downloads one asset to the staging folder, resumed where an earlier try broke off."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.tracking.archive.assets import content_type_of
from service.tracking.archive.checksums import announced, sha256_of
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Download, Undeliverable

_CHUNK = 1 << 20  # bytes that are written at once
_CHUNKS = 64  # pieces that are written at once, if they are small
_IDLE = 0.0005  # seconds that a round of the event loop takes with few requests
_SHARE = 16  # how many times as long as the requests of a round a copy waits
_LONGEST_PAUSE = 0.1  # seconds
_DEAD = (401, 403, 404, 410)
_WHOLE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


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
    part, tag = staged_at(staging, key)
    known = await asyncio.to_thread(_known, part, tag)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    if known:
        headers |= {"Range": f"bytes={known[0]}-", "If-Range": known[1]}
    async with dialler.download(url, headers) as answer:
        total = _total(answer, known[0] if known else 0, part, tag)
        await asyncio.to_thread(_begin, answer, part, tag)
        await _receive(answer, part, total)
    digest = await asyncio.to_thread(_checked, answer, part, total)
    tag.unlink(missing_ok=True)
    content_type = content_type_of(answer.headers.get("content-type"), url)
    return Staged(part, part.stat().st_size, digest, content_type)


def staged_at(staging: Path, key: str) -> tuple[Path, Path]:
    """Return where an unfinished file is, and its ETag."""
    stem = hashlib.sha256(key.encode()).hexdigest()[:32]
    return staging / f"{stem}.part", staging / f"{stem}.etag"


def _known(part: Path, tag: Path) -> tuple[int, str] | None:
    """Return how much of the file is there, and its ETag; None: nothing that can be continued."""
    with suppress(OSError):
        size, etag = part.stat().st_size, tag.read_text("latin-1")
        return (size, etag) if size and etag else None
    return None


def _total(answer: Download, known: int, part: Path, tag: Path) -> int | None:
    """Return the size that the whole asset has; None if the server does not say it."""
    if answer.status in _DEAD:
        raise Dead(f"Answered {answer.status}.")
    if answer.status == 200:
        return _length(answer.headers)
    whole = _WHOLE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status == 206 and known and whole and int(whole[1]) == known:
        return int(whole[2])
    _discard(part, tag)
    raise Undeliverable(f"Answered {answer.status}.")


def _length(headers: Mapping[str, str]) -> int | None:
    """Return the length of a body; None if it is unknown, but its end is marked."""
    length = headers.get("content-length", "")
    if length.isdecimal():
        return int(length)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return None
    raise Undeliverable("The answer does not say how long it is.")


def _begin(answer: Download, part: Path, tag: Path) -> None:
    """Prepare the file for what comes.

    A strong ETag is what allows to resume; without one, the next try begins anew.
    """
    etag = answer.headers.get("etag", "")
    tag.write_text("" if etag.startswith("W/") else etag, "latin-1")
    if answer.status == 200:
        part.write_bytes(b"")


def _checked(answer: Download, part: Path, total: int | None) -> str:
    """Return the SHA-256 of the file, if it is what the server has announced."""
    size = part.stat().st_size
    if total is not None and size != total:
        part.unlink()
        raise Undeliverable(f"The asset has {size} bytes instead of {total}.")
    expected = announced(answer.headers, partial=answer.status == 206)
    digest, is_right = sha256_of(part, expected)
    if not is_right:
        part.unlink()
        raise Undeliverable("The content is not what the server's checksum says.")
    return digest


def _discard(part: Path, tag: Path) -> None:
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)


async def _receive(answer: Download, part: Path, total: int | None) -> None:
    with await asyncio.to_thread(part.open, "ab") as file:
        waiting, size = list[bytes](), 0
        try:
            async for chunk in answer.chunks:
                waiting.append(chunk)
                size += len(chunk)
                if size >= _CHUNK or len(waiting) >= _CHUNKS:
                    full, waiting, size = waiting, [], 0
                    await asyncio.to_thread(_write, file, full)
                    if total is not None and file.tell() > total:
                        break
                await _give_way()
        finally:  # also what came before the connection broke: the next try resumes there
            _write(file, waiting)


def _write(file: BinaryIO, chunks: list[bytes]) -> None:
    file.write(b"".join(chunks))


async def _give_way() -> None:
    """Wait while requests keep the event loop busy, so that copies take a small share of it."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    await asyncio.sleep(0)
    if (busy := clock() - begun) > _IDLE:
        await asyncio.sleep(min(_SHARE * busy, _LONGEST_PAUSE))
