"""How what Luma tells us about a generation becomes one row; pure.

Luma's objects carry no version and no time of change, and callbacks repeat and overtake each
other. So observations are ordered by the rank of their state, never by a clock:

    unknown(0) ── queued(1) ── dreaming, processing, anything new(2) ── completed, failed(3)
                                                                          └ absorbs

A higher rank wins, a lower one can only fill gaps, an equal one fills gaps and brings newer
assets. One exception: what a callback said is only a claim until an authenticated answer
confirms it, and such an answer overrules it if it was asked for after the claim had come in; an
answer of the other upstream, whenever it was asked for, for nobody has two generations of one id.
"""

from datetime import datetime, timedelta
from typing import Any

from service.domain.generation import (
    UNTOLD,
    Generation,
    Observation,
    Outcome,
    is_ahead,
    is_known,
    is_terminal,
    rank,
)

GONE_AFTER = timedelta(seconds=30)
"""Between the two answers that a generation is unknown, of which the second is believed."""

Told = dict[str, Any]
"""Fields of the row, and what they are to be."""


def merge(
    current: Generation | None, seen: Observation, at: datetime
) -> tuple[Generation, Outcome]:
    """Fold one observation into what is known; pure.

    Args:
        current: the row, or None when the id is new.
        seen: what Luma said.
        at: when it reached us.

    Returns:
        The row as it should be, and what the observation did. `rev` has risen by exactly one
        if anything that users see has really changed, and `heard_at` is `at` in any case.
    """
    if current is None:
        return _first(seen, at), Outcome.APPLIED
    if seen.upstream != current.upstream:
        return _of_the_other_upstream(current, seen, at)
    told, up_to_date = _fold(current, seen, at)
    heard_at = at if is_ahead(current.heard_at, at) else max(at, current.heard_at)
    if _is_news(current, told):
        return _changed(current, told, seen, at, heard_at), Outcome.APPLIED
    after = current._replace(**told, heard_at=heard_at)
    return after, Outcome.UNCHANGED if up_to_date else Outcome.STALE


def _first(seen: Observation, at: datetime) -> Generation:
    state = seen.state or UNTOLD
    return Generation(
        id=seen.id,
        upstream=seen.upstream,
        state=state,
        generation_type=seen.generation_type,
        operation=seen.operation,
        model=seen.model,
        prompt=seen.prompt,
        created_at=seen.created_at,
        failure_reason=seen.failure_reason,
        failure_code=seen.failure_code,
        assets=dict(seen.assets),
        outputs=seen.outputs,
        assets_expire_at=seen.assets_expire_at,
        request=seen.request,
        rev=1,
        source=seen.source,
        verified=seen.authenticated,
        first_seen_at=at,
        updated_at=at,
        heard_at=at,
        finished_at=at if is_terminal(state) else None,
    )


def _of_the_other_upstream(
    current: Generation, seen: Observation, at: datetime
) -> tuple[Generation, Outcome]:
    """An authenticated answer takes the place of what was only claimed; nothing else does."""
    if current.verified or not seen.authenticated or seen.gone:
        return current, Outcome.STALE
    first_seen_at = min(current.first_seen_at, at)
    after = _first(seen, at)._replace(rev=current.rev + 1, first_seen_at=first_seen_at)
    return after, Outcome.APPLIED


def _changed(
    current: Generation, told: Told, seen: Observation, at: datetime, heard_at: datetime
) -> Generation:
    terminal = is_terminal(told.get("state", current.state))
    return current._replace(
        **told,
        rev=current.rev + 1,
        source=seen.source,
        updated_at=at,
        heard_at=heard_at,
        finished_at=(current.finished_at or at) if terminal else None,
    )


def _fold(current: Generation, seen: Observation, at: datetime) -> tuple[Told, bool]:
    """What `seen` makes of the row, and whether it had come as far as the row."""
    if seen.gone:
        return _missing(current, at), True
    if seen.authenticated:
        told, up_to_date = _told(current, seen)
        return {**told, "gone_at": None, "missing_since": None}, up_to_date
    return _told(current, seen)


def _missing(current: Generation, at: datetime) -> Told:
    """Once may be a mistake, or a delay; gone is what Luma does not know half a minute later."""
    since = current.missing_since
    if current.gone_at or (since and at - since >= GONE_AFTER):
        return {"gone_at": current.gone_at or at, "missing_since": at}
    return {"missing_since": at if since is None or is_ahead(since, at) else since}


def _told(current: Generation, seen: Observation) -> tuple[Told, bool]:
    if current.verified and current.terminal and not seen.authenticated:
        return {}, seen.state in (None, current.state)
    if _overrules(current, seen) or _precedence(seen.state) > _precedence(current.state):
        return _taken_over(current, seen), True
    if (seen.state or UNTOLD) == current.state:
        return _filled(current, seen), True
    return _static_filled(current, seen), seen.state is None


def _precedence(state: str | None) -> tuple[int, bool, str]:
    """Orders states so that equals of rank end alike in whatever order they come.

    A state that we do not know is more special than `dreaming`, so it is shown. The two
    terminal states are equals: the first stands until Luma itself is asked.
    """
    if state is None:
        return (-1, False, "")
    known = is_known(state)
    return (rank(state), not known, "" if known else state)


def _overrules(current: Generation, seen: Observation) -> bool:
    """Whether an answer to a question of ours corrects what a callback claimed.

    Only if we asked after the claim: an older answer knows less, not more. A state that was claimed
    before we asked was claimed before, whatever else callbacks have changed in the row since.
    """
    asked_after = current.rev == seen.asked_at_rev or current.state == seen.asked_at_state
    return (
        seen.authenticated
        and seen.state is not None
        and not current.verified
        and seen.state != current.state
        and asked_after
    )


def _taken_over(current: Generation, seen: Observation) -> Told:
    """State and all that belongs to it from `seen`; the rest from wherever it is known."""
    return {
        **_static_filled(current, seen, seen_first=True),
        "state": seen.state or current.state,
        "failure_reason": seen.failure_reason,
        "failure_code": seen.failure_code,
        "assets": dict(seen.assets),
        "outputs": seen.outputs,
        "assets_expire_at": seen.assets_expire_at,
        "verified": seen.authenticated,
    }


def _filled(current: Generation, seen: Observation) -> Told:
    """The same state told again: gaps filled, newer assets taken, a claim confirmed."""
    if (
        seen.authenticated
        and not current.verified
        and (current.terminal or seen.asked_at_rev == current.rev)
    ):
        return _taken_over(current, seen)
    assets = {**current.assets, **seen.assets}
    return {
        **_static_filled(current, seen),
        "failure_reason": current.failure_reason or seen.failure_reason,
        "failure_code": current.failure_code or seen.failure_code,
        "assets": assets,
        "outputs": seen.outputs or current.outputs,
        "assets_expire_at": seen.assets_expire_at or current.assets_expire_at,
        "verified": current.verified and (seen.authenticated or assets == current.assets),
    }


def _static_filled(current: Generation, seen: Observation, *, seen_first: bool = False) -> Told:
    """What does not change in a generation's life, from the first of the two that knows it."""
    a, b = (seen, current) if seen_first else (current, seen)
    generation_type, request = a.generation_type or b.generation_type, a.request or b.request
    return {
        "generation_type": generation_type,
        "operation": _told_best(a.operation, b.operation, generation_type),
        "model": _told_best(a.model, b.model, (request or {}).get("model")),
        "prompt": a.prompt or b.prompt,
        "created_at": a.created_at or b.created_at,
        "request": request,
    }


def _told_best(first: str | None, second: str | None, guess: object) -> str | None:
    """The first that was told, but what was only guessed from another field gives way."""
    if first == guess:
        return second or first
    return first or second


def _is_news(current: Generation, told: Told) -> bool:
    return _essence(told) != _essence({name: getattr(current, name) for name in told})


def _essence(told: Told) -> Told:
    """Without what may move under the same `rev`.

    A presigned URL is minted anew at every read; the asset behind it is the same one.
    """
    told = {name: value for name, value in told.items() if name != "missing_since"}
    if told.get("assets_expire_at") is None:
        return told
    return {
        **told,
        "assets": dict.fromkeys(told["assets"], ""),
        "outputs": tuple({**output, "url": ""} for output in told["outputs"]),
        "assets_expire_at": None,
    }
