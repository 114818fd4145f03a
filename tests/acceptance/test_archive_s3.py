"""The archive in a bucket, on a real S3 server."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import httpx
import pytest

from service.bootstrap import open_parts
from service.config import Settings
from service.simulator import Fault, Luma
from tests.acceptance.archiving import FINISHED, REACHABLE, archived, luma_with_assets, shown
from tests.acceptance.conftest import Service
from tests.conftest import Clock
from tests.object_store import Bucket, run_bucket

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with run_bucket(tmp_path_factory.mktemp("bucket")) as running:
        yield running


@pytest.fixture
def luma() -> Iterator[Luma]:
    with luma_with_assets() as running:
        yield running


def test_a_bucket_keeps_and_serves_what_a_folder_would(
    start_service: Callable[..., Service], luma: Luma, bucket: Bucket, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    set_ = {"TRACKER_ARCHIVE": "s3://kept/all", "TMPDIR": str(staging), **REACHABLE}
    service = start_service(**set_, **bucket.environment)
    generation_id = luma.create(plan=FINISHED)
    urls = luma.body(generation_id)["assets"]
    video, image = (httpx.get(urls[name]).content for name in ("video", "image"))
    luma.fault(Fault(drop_after=1000, path=".jpg", times=1))
    shown(service, generation_id)

    kept = archived(service, generation_id, "video", "image")

    assert "copy_failed" in service.said
    resumed = [seen.headers.get("range") for seen in luma.requests if ".jpg" in seen.path]
    assert resumed[-1] == "bytes=1000-"
    assert kept["image"]["sha256"] == hashlib.sha256(image).hexdigest()
    found = {PurePosixPath(path): content for path, content in bucket.files("all").items()}
    assert {path.parent.name for path in found} == {generation_id}
    by_name = {path.name: content for path, content in found.items()}
    assert json.loads(by_name.pop("generation.json"))["archived"] == kept
    assert by_name == {"video.mp4": video, "image.jpg": image}
    assert not [path for path in staging.rglob("*") if path.is_file()]

    luma.fault(Fault(status=410, times=None, path="/assets/"))
    url = f"{service.url}/v1/generations/{generation_id}/assets/video"
    part = httpx.get(url, headers={"Range": "bytes=-9"})
    assert (part.status_code, part.content) == (206, video[-9:])
    assert httpx.get(url).content == video
    assert service.command("archive", "--missing").stdout == ""
    assert "s3://kept/all can be written" in service.command("doctor").stdout
    refused = service.command("doctor", AWS_SECRET_ACCESS_KEY="wrong")
    assert "The archive cannot be written: PermissionDenied" in refused.stdout


async def test_the_limit_holds_in_a_bucket(
    settings: Settings,
    clock: Clock,
    luma: Luma,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    changed = {"archive": "s3://kept/limited", "archive_max": "1B", "webhook_allow": "127.0.0.0/8"}
    limited = Settings.model_validate({**settings.model_dump(), **changed})
    async with open_parts(limited, clock) as parts:
        assert parts.copier
        for _ in range(2):
            await parts.tracker.lookup(luma.create(plan=FINISHED))
            await parts.tracker.archive.add_missing()
            await parts.copier.copy_due()
            clock.turn(24 * 3600 + 60)
    names = sorted(PurePosixPath(path).name for path in bucket.files("limited"))
    assert names == ["generation.json", "generation.json", "image.jpg", "video.mp4"]
