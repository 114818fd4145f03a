"""Assets, which the simulator serves if it is told to."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator


@pytest.fixture
def serving() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), serve_assets=True).running() as luma:
        yield luma


def test_a_video_and_its_thumbnail_are_served_with_bytes_of_their_own(serving: Luma) -> None:
    one, other = (_completed(serving, "video")["assets"] for _ in range(2))
    video, thumbnail = _get(one["video"]), _get(one["image"])
    assert video.headers["content-type"] == "video/mp4"
    assert video.content[4:12] == b"ftypisom"
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert thumbnail.content.startswith(b"\xff\xd8\xff")
    assert _get(one["video"]).content == video.content != _get(other["video"]).content


def test_an_image_is_served_in_its_format(serving: Luma) -> None:
    image = _get(_completed(serving, "image", format="png")["assets"]["image"])
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=4-11", 4, 11), ("bytes=2000-", 2000, None), ("bytes=-7", -7, None)],
)
def test_an_asset_can_be_read_in_parts(
    asked: str, first: int, last: int | None, serving: Luma
) -> None:
    url = _completed(serving, "video")["assets"]["video"]
    whole = _get(url)
    part = _get(url, **{"Range": asked, "If-Range": whole.headers["ETag"]})
    expected = whole.content[first : None if last is None else last + 1]
    assert (part.status_code, part.content) == (206, expected)
    start = first % len(whole.content)
    stop = start + len(expected)
    assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole.content)}"


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-", "lines=1-2"])
def test_a_part_that_an_asset_does_not_have_is_416(asked: str, serving: Luma) -> None:
    assert _get(_completed(serving, "video")["assets"]["video"], Range=asked).status_code == 416


def test_a_part_of_another_version_is_answered_as_a_whole(serving: Luma) -> None:
    url = _completed(serving, "video")["assets"]["video"]
    answer = _get(url, **{"Range": "bytes=4-11", "If-Range": '"other"'})
    assert (answer.status_code, answer.content[4:12]) == (200, b"ftypisom")


def test_an_agents_url_is_refused_after_an_hour_and_a_new_one_is_not(serving: Luma) -> None:
    made = _completed(serving, "video", upstream="agents")
    url = made["output"][0]["url"]
    assert _get(url).headers["content-type"] == "video/mp4"
    serving.advance(3600)
    assert _get(url).status_code == 403
    assert "Request has expired" in _get(url).text
    assert _get(serving.body(made["id"])["output"][0]["url"]).status_code == 200
    assert _get(url.partition("?")[0]).status_code == 403


def test_only_images_and_videos_are_served(serving: Luma) -> None:
    base = serving.agents_url.removesuffix("/agents/v1")
    assert _get(f"{base}/assets/dream_machine/notes.txt").status_code == 404


def test_assets_are_at_lumas_host_unless_told_otherwise(luma: Luma) -> None:
    url = _completed(luma, "video")["assets"]["video"]
    assert httpx.URL(url).host == "storage.cdn-luma.com"
    base = luma.agents_url.removesuffix("/agents/v1")
    assert _get(f"{base}/assets/dream_machine/a.mp4").status_code == 404


def _completed(luma: Luma, operation: str, **fields: Any) -> dict[str, Any]:
    made = luma.create(operation, **fields)
    luma.advance(2.5)
    return luma.body(made)


def _get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)
