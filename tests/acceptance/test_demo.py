"""The demo: the main job, with no key and no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]


def test_the_demo_shows_that_lookups_cost_luma_nothing(tmp_path: Path) -> None:
    """Settings of the person who tries it must not get in its way."""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "TRACKER_API_TOKENS": "surplus",
        "TRACKER_PORT": "1",
        "http_proxy": "http://127.0.0.1:9",
    }

    run = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--exit"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert run.returncode == 0, run.stderr
    assert re.search(r"\b[1-9]\d* lookups, 0 requests to Luma", run.stdout)
    for state in ("dreaming", "completed", "failed"):
        assert re.search(rf"\b{state}\b", run.stdout), state
    assert "Video URL: https://" in run.stdout
    assert "Image URL: https://" in run.stdout
    prices = re.findall(r"Estimated price: \$(\S+)", run.stdout)
    assert len([price for price in prices if float(price) > 0]) >= 4, "videos, upscale, image"
    assert "Reason: " in run.stdout
    assert "signature: verified" in run.stdout, "the Agents API's callback, sent by the tracker"
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"
