"""Which assets a generation has, and what their files are called."""

import hashlib
import mimetypes
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from service.domain.generation import Generation

OCTETS = "application/octet-stream"
_KEPT = ("video", "image")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_EXTENSION = re.compile(r"\.[a-z0-9]{1,5}")


def urls_of(
    assets: Mapping[str, str | None], outputs: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the URLs of the final assets by name: `video`, `image`, or an output's number.

    An output that is the `video` or `image` as well has no number of its own.
    """
    urls = {name: url for name in _KEPT if (url := assets.get(name))}
    listed = set(urls.values())
    for number, output in enumerate(outputs):
        url = output.get("url")
        if isinstance(url, str) and url and url not in listed:
            urls[str(number)] = url
            listed.add(url)
    return urls


def name_of(
    name: str, assets: Mapping[str, str | None], outputs: Sequence[Mapping[str, Any]]
) -> str | None:
    """Return the name under which an asset is kept; None: the generation has no such asset."""
    urls = urls_of(assets, outputs)
    if name in urls:
        return name
    if not (name.isascii() and name.isdecimal() and int(name[:6]) < len(outputs)):
        return None
    url = outputs[int(name[:6])].get("url")
    return next((known for known, its_url in urls.items() if its_url == url), None)


def folder_of(generation: Generation) -> str:
    """Return the folder of a generation: its date and its id, safe for any file system."""
    id_ = _UNSAFE.sub("_", generation.id)
    if id_ != generation.id:
        id_ += "-" + hashlib.sha256(generation.id.encode()).hexdigest()[:8]
    return f"{generation.ordered_at:%Y/%m/%d}/{id_}"


def file_name(name: str, content_type: str) -> str:
    """Return a readable name for the file of an asset, such as `video.mp4` or `output-2.png`."""
    extension = mimetypes.guess_extension(content_type) or ""
    safe = extension if _EXTENSION.fullmatch(extension) else ".bin"
    return f"output-{name}{safe}" if name.isdecimal() else f"{name}{safe}"


def content_type_of(header: str | None, url: str) -> str:
    """Return the content type that the server names, without parameters; else the URL's."""
    named = (header or "").split(";")[0].strip().lower()
    if _TYPE.fullmatch(named) and named != OCTETS and not named.startswith("binary/"):
        return named
    return mimetypes.guess_type(urlsplit(url).path)[0] or OCTETS
