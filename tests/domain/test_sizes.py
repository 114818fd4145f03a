"""Sizes in bytes: what is one, and what is not."""

import pytest

from service.domain.sizes import parse_size

pytestmark = pytest.mark.either_database


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500GB", 500 * 10**9),
        (" 1.5 tb ", 1_500_000_000_000),
        ("8999999T", 8999999 * 10**12),
    ],
)
def test_what_people_write_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e3", "9" * 19, "9" * 400, "10000000TB"])
def test_what_is_no_size_or_can_never_be_reached_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_size(text)
