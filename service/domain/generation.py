"""Generations, observations of them, and the ranks of their states."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, get_args

from service.domain.upstreams import AGENTS
from service.errors import InvalidInput

UNKNOWN_STATE = "unknown"
"""The state of a generation whose state has not been reported yet."""

TERMINAL_STATES = ("completed", "failed")
_POLLED = frozenset({AGENTS})
KnownState = Literal["queued", "dreaming", "processing", "completed", "failed"]
KNOWN_STATES: tuple[KnownState, ...] = get_args(KnownState)
"""The states that Luma documents, in their order."""
_RANKS: Mapping[str, int] = {
    UNKNOWN_STATE: 0,
    **dict(zip(KNOWN_STATES, (1, 2, 2, 3, 3), strict=True)),
}
MAX_CLOCK_SKEW = timedelta(minutes=1)  # tolerated between the clocks of instances
TEST_PREFIX = "luma-tracker-test:"
"""Ids that begin with it are no generations: `luma-tracker callback-test` sends them to itself."""
ID_CHARACTER = "[A-Za-z0-9._:-]"
ID_PATTERN = f"{ID_CHARACTER}{{1,128}}"
_ID = re.compile(ID_PATTERN)


class Source(StrEnum):
    """How an observation reached us."""

    SUBMIT = "submit"
    CALLBACK = "callback"
    FETCH = "fetch"
    RECONCILE = "reconcile"
    BACKFILL = "backfill"


class Outcome(StrEnum):
    """What an observation did to the row.

    APPLIED: it changed the row. UNCHANGED: it agreed with the row. STALE: it lost to the row, for
    example because the row has a higher state. KEPT: it could not be folded; only the delivery
    is stored.
    """

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    STALE = "stale"
    KEPT = "kept"


class Observation(NamedTuple):
    """One report of one generation by Luma. None or an empty value means: not reported."""

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
    parent_id: str | None = None
    callback_url: str | None = None
    """The URL that the creator wants called; only known if it was created through us."""
    document: str | None = None
    """The generation as Luma reported it, with all its fields, as JSON."""
    gone: bool = False
    deleted: bool = False
    """Whether Luma has just deleted it, because a caller asked for that through us."""
    asked_at_rev: int | None = None
    """For a fetch: the row's `rev` when the request was sent (0: there was no row)."""
    asked_at_state: str | None = None
    """For a fetch: the row's state when the request was sent."""

    @property
    def authenticated(self) -> bool:
        """Whether this is Luma's answer to a request. Anyone with the URL can send a callback."""
        return self.source is not Source.CALLBACK


class Generation(NamedTuple):
    """One row: everything that is stored about a generation. Every surface shows a part of it."""

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
    """When Luma last reported anything about it. Changes without a new `rev`."""
    finished_at: datetime | None
    parent_id: str | None = None
    callback_url: str | None = None
    """The URL that the creator wants called; only known if it was created through us. Internal."""
    cost_usd_estimate: float | None = None
    gone_at: datetime | None = None
    next_check_at: datetime | None = None
    """When the next check with the upstream is due; None: never. Internal, not shown."""
    checks: int = 0
    """The number of consecutive checks that brought nothing new. Internal, not shown."""
    missing_since: datetime | None = None
    """When the upstream first answered that it does not know the generation. If it is gone: when it
    last answered so. Internal, not shown."""
    refusals: int = 0
    """The number of consecutive checks that the upstream refused. Internal, not shown."""
    archived: Mapping[str, Mapping[str, Any]] | None = None
    """The assets that are kept, by name: their size, SHA-256, content type, and when. None: none.
    """
    document: str | None = None
    """The generation as Luma last reported it, with all its fields, as JSON. None if it is too
    large. Only the gateway shows it."""

    @property
    def terminal(self) -> bool:
        """Whether the state is terminal."""
        return is_terminal(self.state)

    @property
    def has_assets(self) -> bool:
        """Whether it has at least one asset URL."""
        return bool(self.assets)

    @property
    def is_gone(self) -> bool:
        """Whether the upstream no longer knows it."""
        return self.gone_at is not None

    @property
    def took(self) -> float | None:
        """The seconds from its creation to its terminal state; None if one of them is unknown."""
        if self.finished_at is None or self.created_at is None:
            return None
        return (self.finished_at - self.created_at).total_seconds()

    @property
    def ordered_at(self) -> datetime:
        """The sort key of lists: `created_at`, or `first_seen_at` until that is reported."""
        return self.created_at or self.first_seen_at


def is_usable_id(value: object) -> bool:
    """Whether a value is a valid generation id: 1-128 characters of `A-Z a-z 0-9 . _ : -`."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def require_usable_id(generation_id: str) -> None:
    """Raise `InvalidInput` if this is not a valid generation id."""
    if not is_usable_id(generation_id):
        raise InvalidInput(
            "generation_id",
            "This is not a valid generation id.",
            "Use the id that Luma returned at creation: 1-128 characters of A-Z a-z 0-9 . _ : -",
        )


def require_outcome(outcome: str) -> Outcome:
    """Return the outcome of this name; raise `InvalidInput` if there is none."""
    try:
        return Outcome(outcome)
    except ValueError:
        message = f"There is no outcome {outcome[:64]!r}."
        raise InvalidInput("outcome", message, f"Use {', '.join(Outcome)}.") from None


def require_known_state(state: str) -> None:
    """Raise `InvalidInput` if this is not a state that Luma documents."""
    if state not in KNOWN_STATES:
        known = ", ".join(KNOWN_STATES)
        raise InvalidInput("states", f"Unknown state {state[:64]!r}.", f"Known: {known}.")


def rank(state: str) -> int:
    """Return the rank of a state, 0 to 3. An undocumented state has the rank of `dreaming`."""
    return _RANKS.get(state, _RANKS["dreaming"])


def is_known(state: str) -> bool:
    """Whether the state is `unknown` or one that Luma documents."""
    return state in _RANKS


def is_terminal(state: str) -> bool:
    """Whether a state is terminal: `completed` or `failed`."""
    return state in TERMINAL_STATES


def is_polled(upstream: str) -> bool:
    """Whether the upstream has no callbacks, so that only requests show when a state changes."""
    return upstream in _POLLED


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a stored time is more than a minute in the future.

    That happens when the clock was ahead when the time was stored, and has been corrected since.
    """
    return at - now > MAX_CLOCK_SKEW


class Refreshable(Protocol):
    """The fields that decide whether a row must be fetched again."""

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


def is_settled(generation: Refreshable) -> bool:
    """Whether no further change is expected: it failed, or it is completed and has assets.

    Luma may report `completed` shortly before the asset URL is available.
    """
    return generation.terminal and (generation.state == "failed" or generation.has_assets)


def is_stale(generation: Refreshable, now: datetime, stale_after: timedelta) -> bool:
    """Whether a row is stale: not settled, not gone, and not reported on for `stale_after`."""
    if generation.is_gone:
        return False
    quiet = now - generation.heard_at > stale_after or is_ahead(generation.heard_at, now)
    return quiet and not is_settled(generation)


def has_expired_assets(generation: Refreshable, now: datetime) -> bool:
    """Whether its presigned URLs have expired. Only a fetch returns valid ones."""
    return generation.assets_expire_at is not None and generation.assets_expire_at <= now


def good_until(generation: Refreshable, stale_after: timedelta) -> datetime | None:
    """Return the time until which the row can be served without a fetch; None: without limit.

    After it, the row is stale or its presigned URLs have expired.
    """
    limits = [generation.assets_expire_at]
    if not generation.is_gone and not is_settled(generation):
        limits.append(generation.heard_at + stale_after)
    return min(filter(None, limits), default=None)
