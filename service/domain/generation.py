"""What a generation is, what Luma says of one, and how far a state has come."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

UNTOLD = "unknown"
"""The state of a generation that we heard of without hearing its state."""

TERMINAL_STATES = ("completed", "failed")
_RANKS = {UNTOLD: 0, "queued": 1, "dreaming": 2, "processing": 2, "completed": 3, "failed": 3}
_SKEW = timedelta(minutes=1)  # by which instances' clocks may differ
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Source(StrEnum):
    """By which way Luma told us."""

    SUBMIT = "submit"
    CALLBACK = "callback"
    FETCH = "fetch"
    RECONCILE = "reconcile"
    BACKFILL = "backfill"


class Outcome(StrEnum):
    """What an observation did to the row."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    STALE = "stale"
    KEPT = "kept"


class Observation(NamedTuple):
    """What Luma said about one generation, once. None and empty mean: it did not say."""

    id: str
    upstream: str
    source: Source
    state: str | None = None
    generation_type: str | None = None
    operation: str | None = None
    model: str | None = None
    prompt: str | None = None
    created_at: datetime | None = None
    failure_reason: str | None = None
    failure_code: str | None = None
    assets: Mapping[str, str] = MappingProxyType({})
    outputs: tuple[Mapping[str, Any], ...] = ()
    assets_expire_at: datetime | None = None
    request: Mapping[str, Any] | None = None
    gone: bool = False
    asked_at_rev: int | None = None
    """For an answer to a question of ours: the row's rev when we asked (0: no row)."""
    asked_at_state: str | None = None
    """For the same: its state then."""

    @property
    def authenticated(self) -> bool:
        """Whether Luma itself answered us; a callback could come from anyone with the URL."""
        return self.source is not Source.CALLBACK


class Generation(NamedTuple):
    """All that we know of one generation: the row, and what every surface shows of it."""

    id: str
    upstream: str
    state: str
    generation_type: str | None
    operation: str | None
    model: str | None
    prompt: str | None
    created_at: datetime | None
    failure_reason: str | None
    failure_code: str | None
    assets: Mapping[str, str]
    outputs: tuple[Mapping[str, Any], ...]
    assets_expire_at: datetime | None
    request: Mapping[str, Any] | None
    rev: int
    source: Source
    verified: bool
    first_seen_at: datetime
    updated_at: datetime
    heard_at: datetime
    """When Luma last told us anything of it; moves without a new `rev`."""
    finished_at: datetime | None
    parent_id: str | None = None
    gone_at: datetime | None = None
    next_check_at: datetime | None = None
    """When to ask Luma about it unasked; bookkeeping, not shown."""
    checks: int = 0
    """How many answers in a row have brought nothing new; bookkeeping, not shown."""
    missing_since: datetime | None = None
    """When the upstream last said that it does not know it; bookkeeping, not shown."""
    refusals: int = 0
    """How often in a row the upstream refused to speak of it; bookkeeping, not shown."""

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return is_terminal(self.state)

    @property
    def has_assets(self) -> bool:
        """Whether there is any asset URL."""
        return bool(self.assets)

    @property
    def is_gone(self) -> bool:
        """Whether its upstream no longer knows it."""
        return self.gone_at is not None

    @property
    def ordered_at(self) -> datetime:
        """Its place among others: when it was created, or first seen while Luma has not told."""
        return self.created_at or self.first_seen_at


def is_usable_id(value: object) -> bool:
    """Whether a value could be the id of a generation: 1-128 of `A-Z a-z 0-9 . _ : -`."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def rank(state: str) -> int:
    """How far a state has come, 0 to 3; states that we do not know rank with `dreaming`."""
    return _RANKS.get(state, _RANKS["dreaming"])


def is_known(state: str) -> bool:
    """Whether Luma documents this state."""
    return state in _RANKS


def is_terminal(state: str) -> bool:
    """Whether a state is final."""
    return state in TERMINAL_STATES


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a time of ours lies in the future: the clock was ahead once, and is right again."""
    return at - now > _SKEW


class Aging(Protocol):
    """What is asked of a row that may have to be refreshed."""

    @property
    def upstream(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def terminal(self) -> bool: ...
    @property
    def has_assets(self) -> bool: ...
    @property
    def assets_expire_at(self) -> datetime | None: ...
    @property
    def is_gone(self) -> bool: ...
    @property
    def heard_at(self) -> datetime: ...


def is_settled(generation: Aging) -> bool:
    """Whether nothing more will come: it failed, or it is completed and shows what was made.

    Luma may call a generation completed a moment before it has the URL.
    """
    return generation.terminal and (generation.state == "failed" or generation.has_assets)


def is_stale(generation: Aging, now: datetime, stale_after: timedelta) -> bool:
    """Whether a generation that is not settled has been quiet for too long to be believed."""
    if generation.is_gone:
        return False
    quiet = now - generation.heard_at > stale_after or is_ahead(generation.heard_at, now)
    return quiet and not is_settled(generation)


def has_dead_assets(generation: Aging, now: datetime) -> bool:
    """Whether its presigned URLs have run out, so that only a new fetch gives usable ones."""
    return generation.assets_expire_at is not None and generation.assets_expire_at <= now


def good_until(generation: Aging, stale_after: timedelta) -> datetime | None:
    """Until when it is certainly neither stale nor without its assets; None: for ever."""
    ends = [generation.assets_expire_at]
    if not generation.is_gone and not is_settled(generation):
        ends.append(generation.heard_at + stale_after)
    return min(filter(None, ends), default=None)
