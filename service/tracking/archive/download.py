"""Downloads one asset to the staging folder, resumed where an earlier try broke off.

A thread reads, hashes and writes: the event loop has nothing to do with the content.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.tracking.archive.assets import content_type_of
from service.tracking.archive.checksums import Digest, announced
from service.tracking.archive.staging import Known, Part
from service.tracking.archive.throttle import Throttle
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Download, Undeliverable

_PIECE = 1 << 17  # bytes that are hashed and written at once; the caches of a core hold them
_DEAD = (401, 403, 404, 410)
_WHOLE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


class Dead(Exception):
    """The URL no longer leads to the asset."""


def is_dead(status: int) -> bool:
    """Return whether an answer says that the URL no longer leads to the asset."""
    return status in _DEAD


@dataclass(frozen=True, slots=True)
class Staged:
    """A whole asset in the staging folder."""

    path: Path
    bytes: int
    sha256: str
    content_type: str


async def download(
    dialler: Dialler, url: str, staging: Path, key: str, throttle: Throttle
) -> Staged:
    """Download an asset.

    What is there of an earlier try is kept if the server confirms, by its ETag, that it is a part
    of the same file.

    Args:
        dialler: sends the request.
        url: of the asset.
        staging: the folder of unfinished files.
        key: what is downloaded; the same for every try.
        throttle: says how long to pause.

    Raises:
        Dead: the server no longer has it.
        Undeliverable: it cannot be downloaded now; the next try resumes.
        OSError: the staging folder cannot be written.
    """
    part = Part(staging, key)
    known = await asyncio.to_thread(part.known)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    if known:
        headers |= {"Range": f"bytes={known.size}-", "If-Range": known.etag}
    with throttle:
        taking = _Taking(url, part, known, throttle)
        return await dialler.download(url, headers, taking.take)


@dataclass(frozen=True, slots=True)
class _Taking:
    """What is done with an answer; in a thread."""

    url: str
    part: Part
    known: Known | None
    throttle: Throttle

    def take(self, answer: Download) -> Staged:
        total = self._total(answer)
        digest = Digest(announced(answer.headers, partial=answer.status == 206))
        self.part.begin(answer.headers.get("etag", ""), anew=answer.status == 200)
        digest.update_from(self.part.path)
        size = self._receive(answer, total, digest)
        self._check(size, total, digest)
        self.part.complete()
        content_type = content_type_of(answer.headers.get("content-type"), self.url)
        return Staged(self.part.path, size, digest.sha256, content_type)

    def _total(self, answer: Download) -> int | None:
        """Return the size that the whole asset has; None if the server does not say it."""
        if is_dead(answer.status):
            raise Dead(f"Answered {answer.status}.")
        if answer.status == 200:
            return _length(answer.headers)
        whole = _WHOLE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status == 206 and self.known and whole and int(whole[1]) == self.known.size:
            return int(whole[2])
        self.part.discard()
        raise Undeliverable(f"Answered {answer.status}.")

    def _receive(self, answer: Download, total: int | None, digest: Digest) -> int:
        """Write what comes, and return the size of the file."""
        with self.part.path.open("ab") as file, memoryview(bytearray(_PIECE)) as piece:
            filled = 0
            try:
                while count := answer.readinto(piece[filled:]):
                    filled += count
                    if filled == _PIECE:
                        _write(file, piece, digest)
                        filled = 0
                        if total is not None and file.tell() > total:
                            break
                        if seconds := self.throttle.seconds:  # sleeping for 0 s takes time too
                            time.sleep(seconds)
            finally:  # also what came before the connection broke: the next try resumes there
                _write(file, piece[:filled], digest)
            return file.tell()

    def _check(self, size: int, total: int | None, digest: Digest) -> None:
        """Check that the file is what the server has announced."""
        if total is not None and size != total:
            self.part.path.unlink()
            raise Undeliverable(f"The asset has {size} bytes instead of {total}.")
        if not digest.is_expected:
            self.part.path.unlink()
            raise Undeliverable("The content is not what the server's checksum says.")


def _length(headers: Mapping[str, str]) -> int | None:
    """Return the length of a body; None if it is unknown, but its end is marked."""
    length = headers.get("content-length", "")
    if length.isdecimal():
        return int(length)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return None
    raise Undeliverable("The answer does not say how long it is.")


def _write(file: BinaryIO, content: memoryview, digest: Digest) -> None:
    digest.update(content)
    file.write(content)
