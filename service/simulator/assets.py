"""Asset URLs in Luma's form. `asset_server.py` can serve them; by default, nothing does."""

import hashlib
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from service.simulator.presigned import presign
from service.simulator.world import Generation

LUMA = "https://storage.cdn-luma.com"
"""Where Luma's assets are."""


class AssetUrls:
    """The URLs of assets below `base`."""

    def __init__(self, base: str = LUMA) -> None:
        self._base = base

    def video(self, generation: Generation) -> str:
        """Return the URL of a Dream Machine video; unsigned, like all URLs of v1."""
        return self._file(generation, f"result{_digest(generation, 16)}.mp4")

    def thumbnail(self, generation: Generation) -> str:
        """Return the URL of the still image that comes with every completed video."""
        return self._file(generation, "video_0_thumb.jpg")

    def image(self, generation: Generation) -> str:
        """Return the URL of a Dream Machine image, in the requested format."""
        extension = generation.request.get("format") or "jpg"
        return self._file(generation, f"image{_digest(generation, 33)}.{extension}")

    def progress(self, generation: Generation) -> str:
        """Return the URL of the partial video that Luma updates while the state is `dreaming`."""
        return f"{self._folder(generation)}/progress.mp4"

    def presigned(self, generation: Generation, name: str, now: datetime) -> str:
        """Return an Agents URL that expires an hour after `now`; different at every call."""
        return presign(f"{self._base}/agents/{generation.id}/{name}", now)

    def _folder(self, generation: Generation) -> str:
        return f"{self._base}/dream_machine/{uuid5(NAMESPACE_URL, generation.id)}"

    def _file(self, generation: Generation, name: str) -> str:
        return f"{self._folder(generation)}/{uuid5(NAMESPACE_URL, generation.id + name)}_{name}"


def _digest(generation: Generation, length: int) -> str:
    return hashlib.sha256(generation.id.encode()).hexdigest()[:length]
