"""What the tests of the archive share: Luma with assets, and looks at what is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from service.simulator import Luma, ManualClock, Plan, RequestSeen, Simulator
from tests.acceptance.conftest import Service
from tests.waiting import until

FINISHED = Plan(0, 0)
REACHABLE = {"TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8"}


@contextmanager
def luma_with_assets(video_size: int = 0) -> Iterator[Luma]:
    """Luma's stand-in, which serves assets too; videos have that many bytes, or a few."""
    simulator = Simulator(clock=ManualClock(), serve_assets=True, video_size=video_size)
    with simulator.running() as running:
        yield running


def shown(service: Service, generation_id: str) -> dict[str, Any]:
    """A generation, as the service shows it."""
    answer = httpx.get(f"{service.url}/v1/generations/{generation_id}", timeout=20)
    body: dict[str, Any] = answer.json()
    return body


def archived(service: Service, generation_id: str, *names: str) -> dict[str, Any]:
    """What is archived, once all these are."""
    until(lambda: {*names} <= {*(shown(service, generation_id)["archived"] or ())}, 60)
    kept: dict[str, Any] = shown(service, generation_id)["archived"]
    return kept


def files(folder: Path) -> set[str]:
    """The names of all files that are kept."""
    return {p.name for p in folder.rglob("*") if p.is_file() and ".partial" not in p.parts}


def downloads(luma: Luma, suffix: str = "") -> list[RequestSeen]:
    """The requests for assets."""
    return [
        seen for seen in luma.requests if "/assets/" in seen.path and seen.path.endswith(suffix)
    ]


def let_claims_run_out(service: Service) -> None:
    """As if the time had passed for which a process that has died had claimed its copies."""
    service.rows("UPDATE copies SET next_at = (SELECT min(updated_at) FROM generations)")
