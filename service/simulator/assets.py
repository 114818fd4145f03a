"""URLs that look like Luma's. Nothing answers there, and nothing here asks."""

import hashlib
import secrets
from datetime import datetime
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from service.simulator.world import Generation

HOST = "https://storage.cdn-luma.com"
EXPIRES = 3600
"""Seconds for which an Agents URL can be read."""


def video_url(generation: Generation) -> str:
    """The finished video of a Dream Machine generation; unsigned, as all of v1's are."""
    return _file(generation, f"result{_digest(generation, 16)}.mp4")


def thumbnail_url(generation: Generation) -> str:
    """The still picture that comes with every finished video."""
    return _file(generation, "video_0_thumb.jpg")


def image_url(generation: Generation) -> str:
    """The finished image of a Dream Machine generation, in the format that was asked for."""
    extension = generation.request.get("format") or "jpg"
    return _file(generation, f"image{_digest(generation, 33)}.{extension}")


def progress_url(generation: Generation) -> str:
    """The partial video that is rewritten while it is dreaming."""
    return f"{_folder(generation)}/progress.mp4"


def presigned_url(generation: Generation, name: str, now: datetime) -> str:
    """An Agents URL, readable for an hour from `now`; never the same twice."""
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
