"""What a request to the gateway is about: its target below Luma's base URL, and what that means."""

import re
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote

from starlette.types import Scope

from service.domain.generation import ID_CHARACTER, is_usable_id
from service.domain.upstreams import AGENTS, DREAM_MACHINE

LONGEST = 32_768
"""Characters of a target; Luma's own servers take no longer ones."""
_GENERATION = re.compile(r"generations/([^/]+)/?")
_CREATES = {
    DREAM_MACHINE: re.compile(
        r"generations(/video|/image|/video/(reframe|modify)|/image/reframe"
        rf"|/{ID_CHARACTER}+/(upscale|audio))?"
    ),
    AGENTS: re.compile(r"generations"),
}
"""The decoded paths whose POST creates a generation, by upstream."""
_DEEPEST_ENCODING = 3
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE = bytes(range(0x21, 0x7F)).decode()


class Target(NamedTuple):
    """The part of a request's target that is below the base URL."""

    path: str
    """Percent-encoded, as it came."""
    query: str
    """As it came; empty if there is none."""
    decoded: str
    """The decoded path: what Luma routes by."""

    def __str__(self) -> str:
        """Return path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def generation_id(self) -> str | None:
        """The id, if the path is that of one generation, and the id could be one of Luma's."""
        found = _GENERATION.fullmatch(self.decoded)
        return found[1] if found and is_usable_id(found[1]) else None

    @property
    def is_list(self) -> bool:
        """Whether it is the list of generations."""
        return self.decoded in ("generations", "generations/")

    def creates(self, upstream: str) -> str | None:
        """Return the path, in one form for all spellings, if its POST creates a generation."""
        path = self.decoded.rstrip("/")
        return path if _CREATES[upstream].fullmatch(path) else None


def target_below(scope: Scope, base: str) -> Target | None:
    """Return the target below the base; None if it may lead out of it."""
    raw: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    if not raw.startswith(base.encode()):
        return None
    path = _ascii(raw.removeprefix(base.encode()))
    if _may_lead_out(path):
        return None
    return Target(path, _ascii(scope["query_string"]), unquote(path, errors="surrogateescape"))


def _may_lead_out(path: str) -> bool:
    """Return whether anybody who decodes the path, even several times, may leave the base."""
    for _ in range(_DEEPEST_ENCODING):
        if _leads_out(path):
            return True
        path = unquote(path)
    return _leads_out(path) or unquote(path) != path


def _leads_out(path: str) -> bool:
    if path.startswith("/") or "\\" in path or _CONTROL.search(path):
        return True
    return any(part in (".", "..") for part in path.split("/"))


def _ascii(raw: bytes) -> str:
    """Encode the bytes that may not stand in a URL, and leave all others as they are."""
    return quote_from_bytes(raw, safe=_PRINTABLE)
