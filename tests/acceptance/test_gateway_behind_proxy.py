"""The gateway behind the nginx of deploy/: the proxy keeps what docs/gateway.md promises."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Service
from tests.acceptance.proxying import run_proxy

pytestmark = pytest.mark.either_database

TOKEN = "token-behind-the-proxy"
IMAGE = {"data": "A" * 3_000_000, "media_type": "image/png"}


@pytest.mark.parametrize(
    ("path", "create"),
    [
        ("/agents/v1/generations", {"model": "uni-1", "image_ref": [IMAGE]}),
        ("/dream-machine/v1/generations/video", {"model": "ray-2", "unknown": IMAGE}),
    ],
)
def test_a_create_of_three_megabytes_passes_the_proxy(
    tmp_path: Path, start_service: Callable[..., Service], path: str, create: dict[str, object]
) -> None:
    service = start_service(TRACKER_API_TOKENS=TOKEN)
    with run_proxy(tmp_path, [service.url]) as proxy:
        answer = httpx.post(
            f"{proxy.url}{path}",
            json={"prompt": "a lake", **create},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=20,
        )

    assert answer.status_code == 201, answer.text
    assert answer.headers["x-submission-id"]
