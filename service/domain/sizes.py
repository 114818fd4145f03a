"""Sizes in bytes, as people write them."""

import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TOO_LARGE = 2**63  # the databases count in 64 bits
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that `500GB`, `1.5 TB` or `1000000` say.

    Raises:
        ValueError: it is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError("must be a number of bytes such as 500GB")
    size = float(found[1]) * _UNITS[found[2].upper()]
    if size >= _TOO_LARGE:
        raise ValueError("must be less than 9,000,000 TB")
    return int(size)
