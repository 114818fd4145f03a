"""What of a generation can be looked at."""

from typing import NamedTuple
from urllib.parse import quote

from service.storage.shape import GenerationOut
from service.web.pages.formatting import web_url


class Media(NamedTuple):
    """What of a generation can be looked at, the final asset first; only http(s) URLs."""

    video: str | None
    image: str | None
    """Of a video: its thumbnail."""
    progress: bool
    """Whether the video is not the final one."""
    links: list[tuple[str, str]]


def media_of(generation: GenerationOut) -> Media:
    """Return the media of a generation; what the archive keeps comes from there."""
    kept = {name: _kept(generation.id, name) for name in generation.archived or ()}
    assets = {name: web_url(url) for name, url in generation.assets.items()} | kept
    links = [(name, url) for name, url in assets.items() if url]
    listed = {url for _, url in links}
    for number, output in enumerate(generation.outputs):
        url = web_url(output.get("url"))
        if url and url not in listed:
            links.append((f"output {number}", url))
    final = assets.get("video")
    video = final or assets.get("progress_video")
    return Media(video, assets.get("image"), bool(video and not final), links)


def _kept(generation_id: str, name: str) -> str:
    return f"/v1/generations/{quote(generation_id)}/assets/{name}"
