"""Where a page's players load from."""

from service.storage.shape import EXAMPLE, GenerationOut
from service.web.pages.media import media_of


def test_what_the_archive_keeps_is_played_from_there() -> None:
    kept = {"video": {"bytes": 1, "sha256": "0", "content_type": "video/mp4", "at": "x"}}
    shown = GenerationOut.model_validate(EXAMPLE | {"id": "a:b", "archived": kept})

    media = media_of(shown)

    assert media.video == "/v1/generations/a%3Ab/assets/video"
    assert media.image == EXAMPLE["assets"]["image"]


def test_without_an_archive_it_is_lumas_own_address() -> None:
    media = media_of(GenerationOut.model_validate(EXAMPLE))
    assert media.video == EXAMPLE["assets"]["video"]
