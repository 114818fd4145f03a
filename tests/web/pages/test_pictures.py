"""The pictures of the README.

`PICTURES=write pytest tests/web/pages/test_pictures.py` makes them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.pages.conftest import MEDIA, Served, served, visit

pytestmark = pytest.mark.either_database

FOLDER = Path(__file__).parents[3] / "docs" / "pictures"
WRITE = os.environ.get("PICTURES") == "write"
MOST_BYTES = 150_000
PICTURES = {  # path, theme
    "gallery": ("/", "light"),
    "table": ("/?view=table", "dark"),
    "generation": ("/generations/5f0c8a52-lake", "light"),
}
PROMPTS = {
    "lake": "a lake at dawn, mist over the water, slow dolly shot",
    "robot": "a small robot waters the plants of a rooftop garden",
    "paper": "a paper boat in a gutter, macro, heavy rain",
    "train": "night train through snow, seen from above",
    "market": "a fish market at five in the morning, handheld",
    "teddy": "a teddy bear learns to ice-skate",
    "dunes": "wind over dunes, golden hour, 35 mm",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with something to look at."""
    with served(tmp_path_factory.mktemp("pictures")) as service:
        for number, (name, prompt) in enumerate(PROMPTS.items()):
            assets = {"video": f"{MEDIA}/{name}.mp4", "image": f"{MEDIA}/{name}.jpg"}
            id_, age = f"5f0c8a5{number + 2}-{name}", 95 + 140 * number
            service.tell(id_, "dreaming", age=age, prompt=prompt)
            if name != "paper":
                service.tell(id_, "completed", age=age, prompt=prompt, assets=assets)
        service.tell("5f0c8a52-lake", "dreaming", age=95, prompt=PROMPTS["lake"])
        reason = {"failure_reason": "Frame moderation failed"}
        service.tell("5f0c8a61-duel", "failed", age=260, prompt="a duel at high noon", **reason)
        yield service


def settle(page: Page) -> None:
    """Wait until all that is seen is there."""
    expect(page.locator("[data-live-word]")).to_have_text("Live")
    loaded = "[...document.images].every((each) => each.complete && each.naturalWidth)"
    page.wait_for_function(loaded)


@pytest.mark.thorough
@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_of_the_readme_is_there_and_small(
    browser: Browser, service: Served, name: str
) -> None:
    path, theme = PICTURES[name]
    file = FOLDER / f"{name}.png"
    if WRITE:
        with visit(browser, service, path, color_scheme=theme) as seen:
            settle(seen.page)
            seen.page.screenshot(path=file)
    assert file.exists(), "make it: PICTURES=write pytest tests/web/pages/test_pictures.py"
    assert file.stat().st_size < MOST_BYTES
    assert f"docs/pictures/{name}.png" in (FOLDER.parents[1] / "README.md").read_text()
