"""Serves small, valid images and videos at every asset URL; each URL has bytes of its own."""

import hashlib
import os
import struct
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.simulator import stored_bytes
from service.simulator.clock import Clock
from service.simulator.presigned import refusal

_SAMPLES = Path(__file__).with_name("samples")
_KINDS = {
    ".mp4": ("sample.mp4", "video/mp4"),
    ".png": ("sample.png", "image/png"),
    ".jpg": ("sample.jpg", "image/jpeg"),
    ".jpeg": ("sample.jpg", "image/jpeg"),
}
"""Extension -> sample and content type."""


class AssetServer:
    """The function of the route `/assets/{path}`.

    Args:
        folder: keeps what it has served.
        clock: tells which URLs have expired.
        video_size: the fewest bytes that a video has.
    """

    def __init__(self, folder: Path, clock: Clock, video_size: int = 0) -> None:
        self._folder = folder
        self._clock = clock
        self._video_size = video_size

    async def get(self, request: Request) -> Response:
        """Answer an asset or a part of it; URLs of the Agents API are refused after an hour."""
        path = PurePosixPath(request.path_params["path"])
        signed = path.parts[:1] == ("agents",)
        if signed and (refused := refusal(request.query_params, self._clock.now())):
            return refused
        if path.suffix not in _KINDS:
            return PlainTextResponse("Not Found", 404)
        return stored_bytes.answer(request, self._file(path), _KINDS[path.suffix][1])

    def _file(self, path: PurePosixPath) -> Path:
        file = self._folder / hashlib.sha256(str(path).encode()).hexdigest()
        if not file.exists():
            sample = (_SAMPLES / _KINDS[path.suffix][0]).read_bytes()
            size = self._video_size if path.suffix == ".mp4" else 0
            file.write_bytes(sample + _trailer(str(path).encode(), size - len(sample)))
            os.truncate(file, max(size, file.stat().st_size))  # zeros, without disk space
        return file


def _trailer(content: bytes, size: int) -> bytes:
    """Return the beginning of an MP4 box of at least `size` bytes; zeros are to follow.

    Players skip it, and decoders of images ignore what follows the image.
    """
    return struct.pack(">I4s", max(size, 8 + len(content)), b"free") + content
