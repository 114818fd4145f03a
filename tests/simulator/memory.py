"""Bodies that are far larger than what may be added to the memory of the process."""

import hashlib
import resource
from collections.abc import Iterator

LARGE = 64 * 2**20
"""Bytes of a large body."""
FLAT = 16 * 2**20
"""Bytes that memory may grow while it is streamed."""

_PART = bytes(range(256)) * 4096


def large_body(digest: "hashlib._Hash") -> Iterator[bytes]:
    """Yield the bytes that `/bytes/{LARGE}` answers; `digest` takes them too."""
    for _ in range(LARGE // len(_PART)):
        digest.update(_PART)
        yield _PART


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
