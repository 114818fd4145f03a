"""Unfinished files: what came of an asset so far, and the ETag that allows to go on."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Known(NamedTuple):
    """What is there of an earlier try."""

    size: int
    etag: str


class Part:
    """An unfinished file.

    Args:
        staging: the folder of unfinished files.
        key: what is downloaded; the same for every try.
    """

    def __init__(self, staging: Path, key: str) -> None:
        stem = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.path = staging / f"{stem}.part"
        self._tag = staging / f"{stem}.etag"

    def known(self) -> Known | None:
        """Return what is there of an earlier try; None: nothing that can be continued."""
        with suppress(OSError):
            known = Known(self.path.stat().st_size, self._tag.read_text("latin-1"))
            return known if all(known) else None
        return None

    def begin(self, etag: str, *, anew: bool) -> None:
        """Prepare the file for what comes.

        A strong ETag is what allows to resume; without one, the next try begins anew.
        """
        self._tag.write_text("" if etag.startswith("W/") else etag, "latin-1")
        if anew:
            self.path.write_bytes(b"")

    def complete(self) -> None:
        """Forget the ETag."""
        self._tag.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete all."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)
