"""Which representation of a list an `Accept` header prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Iterator
from functools import lru_cache

from service.tracking.feeds import Format

MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.NDJSON: "application/x-ndjson",
}
_QUALITY = re.compile(r"[01](?:\.\d{0,3})?")


@lru_cache(64)  # programs repeat theirs
def format_of(accept: str) -> Format:
    """Return the preferred format; JSON if none is preferred, or none of ours is accepted."""
    weights = dict(_weights(accept))
    return max(Format, key=lambda format_: _weight(MEDIA_TYPES[format_], weights))


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_range, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        yield media_range, float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _weight(media_type: str, weights: dict[str, float]) -> float:
    """Return the weight of the most specific range that includes the type."""
    main, _, _ = media_type.partition("/")
    ranges = (media_type, f"{main}/*", "*/*")
    return next((weights[each] for each in ranges if each in weights), 0.0)
