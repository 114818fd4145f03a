"""Fold observations of a generation into one row. Pure.

Luma's objects have no version and no modification time, and callbacks can arrive repeatedly and
out of order. Observations are therefore ordered by the rank of their state, not by time:

    unknown(0) ── queued(1) ── dreaming, processing, anything new(2) ── completed, failed(3)
                                                                          └ terminal

A higher rank replaces the row's state. A lower rank only fills missing fields. An equal rank
fills missing fields and replaces assets with newer ones.

There are two exceptions. What a callback reports is a claim until an authenticated answer confirms
it. An authenticated answer overrules a claim if the request was sent after the claim arrived. If
the answer is from the other upstream, it overrules the claim whenever the request was sent,
because an id belongs to one generation of one upstream. And between open states of one rank, whose
order nobody knows, an authenticated answer decides if nothing changed since the request was sent.
"""

from datetime import datetime, timedelta
from typing import Any

from service.domain.documents import newest_document
from service.domain.generation import (
    UNKNOWN_STATE,
    Generation,
    Observation,
    Outcome,
    is_ahead,
    is_known,
    is_terminal,
    rank,
)

GONE_AFTER = timedelta(seconds=30)
"""The minimum time between two not-found answers after which a generation counts as gone."""

_INTERNAL = ("missing_since", "callback_url", "document")

Fields = dict[str, Any]
"""New values for fields of the row, by field name."""


def merge(
    current: Generation | None, observation: Observation, at: datetime
) -> tuple[Generation, Outcome]:
    """Fold one observation into a row.

    Args:
        current: the row, or None if the id is new.
        observation: what Luma reported.
        at: when it was received.

    Returns:
        The new row, and what the observation did. `rev` is higher by exactly one if the change is
        visible to users; new signatures of presigned URLs alone do not count. `heard_at` becomes
        `at`, unless it is later already; a `heard_at` in the future is reset to `at`. A row of the
        other upstream that stays as it is keeps its `heard_at`.
    """
    if current is None:
        return _new_row(observation, at), Outcome.APPLIED
    if observation.upstream != current.upstream:
        return _merge_other_upstream(current, observation, at)
    fields, up_to_date = _fold(current, observation, at)
    heard_at = at if is_ahead(current.heard_at, at) else max(at, current.heard_at)
    if _is_change(current, fields):
        return _with_change(current, fields, observation, at, heard_at), Outcome.APPLIED
    after = current._replace(**fields, heard_at=heard_at)
    return after, Outcome.UNCHANGED if up_to_date else Outcome.STALE


def _new_row(observation: Observation, at: datetime) -> Generation:
    state = observation.state or UNKNOWN_STATE
    return Generation(
        id=observation.id,
        upstream=observation.upstream,
        state=state,
        generation_type=observation.generation_type,
        operation=observation.operation,
        model=observation.model,
        prompt=observation.prompt,
        created_at=observation.created_at,
        failure_reason=observation.failure_reason,
        failure_code=observation.failure_code,
        assets=dict(observation.assets),
        outputs=observation.outputs,
        assets_expire_at=observation.assets_expire_at,
        request=observation.request,
        parent_id=observation.parent_id,
        callback_url=observation.callback_url,
        document=observation.document,
        rev=1,
        source=observation.source,
        verified=observation.authenticated,
        first_seen_at=at,
        updated_at=at,
        heard_at=at,
        finished_at=at if is_terminal(state) else None,
    )


def _merge_other_upstream(
    current: Generation, observation: Observation, at: datetime
) -> tuple[Generation, Outcome]:
    """Let an authenticated answer replace an unverified row of another upstream."""
    if current.verified or not observation.authenticated or observation.gone or observation.deleted:
        return current, Outcome.STALE
    first_seen_at = min(current.first_seen_at, at)
    after = _new_row(observation, at)._replace(rev=current.rev + 1, first_seen_at=first_seen_at)
    return after, Outcome.APPLIED


def _with_change(
    current: Generation, fields: Fields, observation: Observation, at: datetime, heard_at: datetime
) -> Generation:
    terminal = is_terminal(fields.get("state", current.state))
    return current._replace(
        **fields,
        rev=current.rev + 1,
        source=observation.source,
        updated_at=at,
        heard_at=heard_at,
        finished_at=(current.finished_at or at) if terminal else None,
    )


def _fold(current: Generation, observation: Observation, at: datetime) -> tuple[Fields, bool]:
    """Return the new field values, and whether the observation is up to date with the row."""
    if observation.deleted:
        return {"gone_at": current.gone_at or at, "missing_since": at}, True
    if observation.gone:
        return _not_found_fields(current, at), True
    fields, up_to_date = _reported_fields(current, observation)
    if observation.authenticated:
        fields |= {"gone_at": None, "missing_since": None}
    return fields, up_to_date


def _not_found_fields(current: Generation, at: datetime) -> Fields:
    """Mark the row as gone if Luma has not known it for `GONE_AFTER`.

    A single not-found answer may be an error or a delay at Luma.
    """
    since = current.missing_since
    if current.gone_at or (since and at - since >= GONE_AFTER):
        return {"gone_at": current.gone_at or at, "missing_since": at}
    return {"missing_since": at if since is None or is_ahead(since, at) else since}


def _reported_fields(current: Generation, observation: Observation) -> tuple[Fields, bool]:
    if current.verified and current.terminal and not observation.authenticated:
        return {}, observation.state in (None, current.state)
    is_higher = _precedence(observation.state) > _precedence(current.state)
    if is_higher or _overrules(current, observation) or _is_next(current, observation):
        return _replaced_fields(current, observation), True
    if (observation.state or UNKNOWN_STATE) == current.state:
        return _filled_fields(current, observation), True
    return _static_fields(current, observation), observation.state is None


def _precedence(state: str | None) -> tuple[int, bool, str]:
    """Return a sort key of states that makes the result independent of the order of arrival.

    Within a rank, an undocumented state is more specific than `dreaming` and therefore wins. The
    two terminal states are equal: the first to arrive stands until an authenticated answer.
    """
    if state is None:
        return (-1, False, "")
    known = is_known(state)
    return (rank(state), not known, "" if known else state)


def _overrules(current: Generation, observation: Observation) -> bool:
    """Whether a fetched answer corrects the state that a callback claimed.

    It does only if the request was sent after the claim arrived, because an earlier answer is
    older than the claim. That holds if the row's `rev` was the same when the request was sent, or
    if its state was: later callbacks may have changed other fields since.
    """
    asked_after = (
        current.rev == observation.asked_at_rev or current.state == observation.asked_at_state
    )
    return (
        observation.authenticated
        and observation.state is not None
        and not current.verified
        and observation.state != current.state
        and asked_after
    )


def _is_next(current: Generation, observation: Observation) -> bool:
    """Whether an answer reports another open state of the same rank, after the row's own."""
    return (
        observation.authenticated
        and observation.state not in (None, current.state)
        and rank(observation.state) == rank(current.state)
        and not current.terminal
        and observation.asked_at_rev == current.rev
    )


def _replaced_fields(current: Generation, observation: Observation) -> Fields:
    """Take the state and its fields from the observation; merge the static fields."""
    return {
        **_static_fields(current, observation, prefer_new=True),
        "state": observation.state or current.state,
        "failure_reason": observation.failure_reason,
        "failure_code": observation.failure_code,
        "assets": dict(observation.assets),
        "outputs": observation.outputs,
        "assets_expire_at": observation.assets_expire_at,
        "document": newest_document(current, observation),
        "verified": observation.authenticated,
    }


def _filled_fields(current: Generation, observation: Observation) -> Fields:
    """Merge a report of the same state: fill missing fields, take newer assets, confirm a claim."""
    if (
        observation.authenticated
        and not current.verified
        and (current.terminal or observation.asked_at_rev == current.rev)
    ):
        return _replaced_fields(current, observation)
    assets = {**current.assets, **observation.assets}
    is_confirmed = current.verified and (observation.authenticated or assets == current.assets)
    keeps_document = is_confirmed and not observation.authenticated
    return {
        **_static_fields(current, observation),
        "failure_reason": current.failure_reason or observation.failure_reason,
        "failure_code": current.failure_code or observation.failure_code,
        "assets": assets,
        "outputs": observation.outputs or current.outputs,
        "assets_expire_at": observation.assets_expire_at or current.assets_expire_at,
        "document": current.document if keeps_document else newest_document(current, observation),
        "verified": is_confirmed,
    }


def _static_fields(
    current: Generation, observation: Observation, *, prefer_new: bool = False
) -> Fields:
    """Merge the fields that never change: take each from the preferred side that has it."""
    a, b = (observation, current) if prefer_new else (current, observation)
    generation_type, request = a.generation_type or b.generation_type, a.request or b.request
    return {
        "generation_type": generation_type,
        "operation": _prefer_reported(a.operation, b.operation, generation_type),
        "model": _prefer_reported(a.model, b.model, (request or {}).get("model")),
        "prompt": a.prompt or b.prompt,
        "created_at": a.created_at or b.created_at,
        "request": request,
        "parent_id": a.parent_id or b.parent_id,
        "callback_url": a.callback_url or b.callback_url,
    }


def _prefer_reported(first: str | None, second: str | None, derived: object) -> str | None:
    """Return the first value that is set, but prefer a reported value to a derived one.

    Args:
        derived: the value that is derived from another field when Luma does not report this one.
    """
    if first == derived:
        return second or first
    return first or second


def _is_change(current: Generation, fields: Fields) -> bool:
    return _comparable(fields) != _comparable({name: getattr(current, name) for name in fields})


def _comparable(fields: Fields) -> Fields:
    """Leave out what may change without a new `rev`: fields that `/v1` does not show.

    Luma signs presigned URLs again at every read, but the asset is the same.
    """
    fields = {name: value for name, value in fields.items() if name not in _INTERNAL}
    if fields.get("assets_expire_at") is None:
        return fields
    return {
        **fields,
        "assets": dict.fromkeys(fields["assets"], ""),
        "outputs": tuple({**output, "url": ""} for output in fields["outputs"]),
        "assets_expire_at": None,
    }
