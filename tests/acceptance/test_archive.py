"""The archive, from outside: real processes, a real server of assets, a real folder."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.simulator import Fault, Luma
from tests.acceptance.archiving import (
    FINISHED,
    REACHABLE,
    archived,
    downloads,
    files,
    luma_with_assets,
    shown,
)
from tests.acceptance.conftest import KEYLESS, Service
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres


@pytest.fixture
def luma() -> Iterator[Luma]:
    with luma_with_assets() as running:
        yield running


def test_a_completed_video_is_kept_and_served_when_lumas_url_is_dead(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE)
    generation_id = luma.create(plan=FINISHED)
    before = shown(service, generation_id)
    content = httpx.get(before["assets"]["video"]).content

    kept = archived(service, generation_id, "video", "image")

    digest = hashlib.sha256(content).hexdigest()
    assert kept["video"] | {"at": ""} == {
        "bytes": len(content),
        "sha256": digest,
        "content_type": "video/mp4",
        "at": "",
    }
    [home] = folder.glob(f"*/*/*/{generation_id}")
    assert {p.name for p in home.iterdir()} == {"video.mp4", "image.jpg", "generation.json"}
    assert (home / "video.mp4").read_bytes() == content
    assert json.loads((home / "generation.json").read_bytes())["id"] == generation_id
    assert shown(service, generation_id)["rev"] > before["rev"]

    luma.fault(Fault(status=410, times=None, path="/assets/"))
    url = f"{service.url}/v1/generations/{generation_id}/assets/video"
    whole = httpx.get(url)
    part = httpx.get(url, headers={"Range": "bytes=4-11"})
    assert (whole.content, whole.headers["etag"]) == (content, f'"{digest}"')
    assert whole.headers["content-disposition"].startswith("inline; filename=")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert (part.status_code, part.content) == (206, content[4:12])
    assert part.headers["content-range"] == f"bytes 4-11/{len(content)}"
    for all_bytes in ("bytes=0-", f"bytes=-{len(content) + 1}"):
        every = httpx.get(url, headers={"Range": all_bytes})
        assert (every.status_code, every.content) == (206, content)
        assert every.headers["content-range"] == f"bytes 0-{len(content) - 1}/{len(content)}"
    assert httpx.get(url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    assert httpx.get(url, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    head = httpx.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    found = httpx.get(f"{service.url}/v1/generations", params={"q": "is:archived"}).json()
    assert [each["id"] for each in found["items"]] == [generation_id]

    luma.clear_faults()
    (home / "video.mp4").unlink()
    missing = httpx.get(url)
    assert (missing.status_code, missing.headers["location"]) == (307, before["assets"]["video"])


def test_nothing_is_kept_from_an_address_that_is_not_public(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    service = start_service(TRACKER_ARCHIVE=str(folder))
    generation_id = luma.create(plan=FINISHED)
    url = shown(service, generation_id)["assets"]["video"]
    until(lambda: "copy_failed" in service.said)

    assert shown(service, generation_id)["archived"] is None
    assert files(folder) == set()
    redirect = httpx.get(f"{service.url}/v1/generations/{generation_id}/assets/video")
    assert (redirect.status_code, redirect.headers["location"]) == (307, url)
    nothing = httpx.get(f"{service.url}/v1/generations/{generation_id}/assets/7")
    assert nothing.status_code == 404
    missing = service.command("archive", "--missing")
    assert generation_id in missing.stdout
    assert "not public" in missing.stdout


def test_a_copy_that_broke_off_is_never_visible_and_is_resumed(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE)
    generation_id = luma.create(plan=FINISHED)
    content = httpx.get(luma.body(generation_id)["assets"]["image"]).content
    luma.fault(Fault(drop_after=1000, path=".jpg", times=1))
    shown(service, generation_id)
    until(lambda: "copy_failed" in service.said)
    assert "image.jpg" not in files(folder)
    [part] = (folder / ".partial").glob("*.part")
    assert part.stat().st_size == 1000
    kept = archived(service, generation_id, "video", "image")
    assert kept["image"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert not [*(folder / ".partial").iterdir()]


def test_the_command_copies_what_came_before(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    service = start_service()
    ids = [luma.create(prompt=prompt, plan=FINISHED) for prompt in ("a lake", "a hill", "a road")]
    assert [shown(service, each)["archived"] for each in ids] == [None] * 3
    service.stop()

    set_ = {"TRACKER_ARCHIVE": str(tmp_path / "kept"), **REACHABLE}
    done = service.command("archive", "--query", "lake", **set_)
    assert done.returncode == 0, done.stderr
    left = service.command("archive", "--missing", **set_).stdout.splitlines()
    assert {*left} == {f"{each}\tnot tried yet" for each in ids[1:]}
    assert service.command("archive", "--query", "is:nonsense", **set_).returncode == 2
    done = service.command("archive", "--json", **set_)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["waiting"] == 0
    assert service.command("archive", "--missing", **set_).stdout == ""
    service.start()
    assert all(archived(service, each, "video", "image") for each in ids)


def test_an_unconfirmed_callback_copies_nothing(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE, **KEYLESS)
    generation_id = luma.create(plan=FINISHED)
    body = luma.body(generation_id)
    assert httpx.post(service.callback_url, json=body).status_code == 200
    assert shown(service, generation_id)["state"] == "completed"
    done = service.command("archive", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"bytes": 0, "waiting": 0, "given_up": 0}
    assert (downloads(luma), files(folder)) == ([], set())
    assert shown(service, generation_id)["verified"] is False


@pytest.mark.either_database
def test_what_could_run_scripts_is_never_shown_in_the_page(
    start_service: Callable[..., Service], luma: Luma, tmp_path: Path
) -> None:
    svg, html = b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<script>alert(1)</script>"
    luma.fault(Fault(body=svg, content_type="image/svg+xml", path=".jpg"))
    luma.fault(Fault(body=html, content_type="text/html; charset=utf-8", path=".mp4"))
    service = start_service(TRACKER_ARCHIVE=str(tmp_path / "kept"), **REACHABLE)
    generation_id = luma.create(plan=FINISHED)
    shown(service, generation_id)
    archived(service, generation_id, "video", "image")
    for name, content, content_type, file in (
        ("image", svg, "image/svg+xml", "image.svg"),
        ("video", html, "text/html", "video.html"),
    ):
        answer = httpx.get(f"{service.url}/v1/generations/{generation_id}/assets/{name}")
        assert answer.content == content
        assert answer.headers["content-type"].partition(";")[0] == content_type
        disposition = f'attachment; filename="{generation_id}-{file}"'
        assert answer.headers["content-disposition"] == disposition
        assert answer.headers["x-content-type-options"] == "nosniff"
