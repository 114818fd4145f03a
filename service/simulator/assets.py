"""Asset URLs in Luma's form. The simulator does not serve them."""

import hashlib
import secrets
from datetime import datetime
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from service.simulator.world import Generation

HOST = "https://storage.cdn-luma.com"
EXPIRES = 3600
"""Seconds until an Agents URL expires."""


def video_url(generation: Generation) -> str:
    """Return the URL of a Dream Machine video; unsigned, like all URLs of v1."""
    return _file(generation, f"result{_digest(generation, 16)}.mp4")


def thumbnail_url(generation: Generation) -> str:
    """Return the URL of the still image that comes with every completed video."""
    return _file(generation, "video_0_thumb.jpg")


def image_url(generation: Generation) -> str:
    """Return the URL of a Dream Machine image, in the requested format."""
    extension = generation.request.get("format") or "jpg"
    return _file(generation, f"image{_digest(generation, 33)}.{extension}")


def progress_url(generation: Generation) -> str:
    """Return the URL of the partial video that Luma updates while the state is `dreaming`."""
    return f"{_folder(generation)}/progress.mp4"


def presigned_url(generation: Generation, name: str, now: datetime) -> str:
    """Return an Agents URL that expires an hour after `now`; different at every call."""
    signature = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"SIMULATOR/{now:%Y%m%d}/us-east-1/s3/aws4_request",
        "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": str(EXPIRES),
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": secrets.token_hex(32),
    }
    return f"{HOST}/agents/{generation.id}/{name}?{urlencode(signature)}"


def _folder(generation: Generation) -> str:
    return f"{HOST}/dream_machine/{uuid5(NAMESPACE_URL, generation.id)}"


def _file(generation: Generation, name: str) -> str:
    return f"{_folder(generation)}/{uuid5(NAMESPACE_URL, generation.id + name)}_{name}"


def _digest(generation: Generation, length: int) -> str:
    return hashlib.sha256(generation.id.encode()).hexdigest()[:length]
