"""The archive when processes die, or share the work: each asset is kept once, whole."""

import hashlib
import json
import re
import socket
import threading
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
    let_claims_run_out,
    luma_with_assets,
    shown,
)
from tests.acceptance.conftest import Service
from tests.databases import locked
from tests.tracking.test_archive_download import TAG, answer
from tests.tracking.test_archive_hazards import LARGE, LARGE_DIGEST, holding, speaking, the_rest
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

VIDEO = 200 << 20
ADDED = 30 << 20
"""Bytes of memory that a copy may take."""


@pytest.fixture
def luma(request: pytest.FixtureRequest) -> Iterator[Luma]:
    """Its videos have as many bytes as the test asks for."""
    with luma_with_assets(getattr(request, "param", 0)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def forget_peak(service: Service) -> int:
    """Make the peak of memory what it is now, and return it."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
    return peak(service)


def peak(service: Service) -> int:
    """The most memory of a process, in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_whole(folder: Path, service: Service, *ids: str) -> None:
    """All these are kept, as they are shown, and nothing else."""
    kept = {each: archived(service, each, "video", "image") for each in ids}
    found = {path for path in folder.rglob("*") if path.is_file()}
    assert len(found) == 3 * len(ids), found
    for id_, assets in kept.items():
        [home] = folder.glob(f"*/*/*/{id_}")
        assert sha256_of(home / "video.mp4") == assets["video"]["sha256"]
        assert sha256_of(home / "image.jpg") == assets["image"]["sha256"]


@pytest.mark.thorough
@pytest.mark.either_database
@pytest.mark.parametrize("luma", [VIDEO], indirect=True)
def test_a_killed_download_goes_on_where_it_was_and_takes_little_memory(
    start_service: Callable[..., Service], luma: Luma, folder: Path
) -> None:
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE)
    first = luma.create(plan=FINISHED)
    shown(service, first)
    parts = folder / ".partial"
    until(lambda: any(part.stat().st_size for part in parts.glob("*.part")))
    service.kill()
    begun = sum(part.stat().st_size for part in parts.glob("*.part"))
    visible = [*folder.rglob("video.mp4")]
    assert all(path.stat().st_size == VIDEO for path in visible)
    let_claims_run_out(service)
    service.start()
    assert_whole(folder, service, first)
    if not visible:  # else it was faster than we
        assert downloads(luma, ".mp4")[1].headers["range"] == f"bytes={begun}-"

    before = forget_peak(service)
    second = luma.create(plan=FINISHED)
    shown(service, second)
    assert_whole(folder, service, first, second)
    url = f"{service.url}/v1/generations/{second}/assets/video"
    with httpx.stream("GET", url) as answer:
        assert sum(map(len, answer.iter_bytes())) == VIDEO
    assert peak(service) - before < ADDED


@pytest.mark.either_database
def test_a_service_that_is_told_to_stop_ends_soon_and_the_next_start_resumes_the_copy(
    start_service: Callable[..., Service], luma: Luma, folder: Path
) -> None:
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE)
    generation_id = luma.create(plan=FINISHED)
    resumed: list[bytes] = []

    def resume(connection: socket.socket, request: bytes) -> None:
        resumed.append(request)
        the_rest(connection, request)

    half = answer(TAG, body=LARGE[: len(LARGE) // 2], length=len(LARGE))
    with speaking(holding(threading.Event(), half), resume) as url:
        body = luma.body(generation_id)
        body["assets"]["video"] = url
        path = f"/dream-machine/v1/generations/{generation_id}"
        luma.fault(Fault(body=json.dumps(body).encode(), path=path, times=None))
        shown(service, generation_id)
        until(lambda: any(part.stat().st_size for part in (folder / ".partial").glob("*.part")))
        service.process.terminate()
        assert service.process.wait(timeout=10) == 0, service.said
        [part] = (folder / ".partial").glob("*.part")
        begun = part.stat().st_size
        service.start()
        assert_whole(folder, service, generation_id)
    assert archived(service, generation_id)["video"]["sha256"] == LARGE_DIGEST
    assert f"range: bytes={begun}-".encode() in resumed[0].lower()


@pytest.mark.thorough
def test_killed_between_file_and_record_each_asset_is_kept_once(
    start_service: Callable[..., Service], luma: Luma, folder: Path
) -> None:
    service = start_service(TRACKER_ARCHIVE=str(folder), **REACHABLE)
    generation_id = luma.create(plan=FINISHED)
    luma.fault(Fault(delay=2, path=".mp4"))
    shown(service, generation_id)
    until(lambda: downloads(luma, ".mp4"))
    with locked(service.database):
        until(lambda: "video.mp4" in files(folder))
        service.kill()
    assert service.rows("SELECT * FROM archived_files") == []
    let_claims_run_out(service)

    service.start()
    assert_whole(folder, service, generation_id)
    kept = shown(service, generation_id)["archived"]
    sizes = sum(asset["bytes"] for asset in kept.values())
    assert service.rows("SELECT bytes FROM archive") == [(sizes,)]


def test_two_instances_copy_each_asset_once(
    start_service: Callable[..., Service], luma: Luma, folder: Path
) -> None:
    set_ = {"TRACKER_ARCHIVE": str(folder), **REACHABLE}
    instances = start_service(**set_), start_service(**set_)
    ids = [luma.create(plan=FINISHED) for _ in range(10)]
    for number, each in enumerate(ids):
        shown(instances[number % 2], each)
    assert_whole(folder, instances[1], *ids)
    paths = [seen.path for seen in downloads(luma)]
    assert len(paths) == len({*paths}) == 2 * len(ids)
