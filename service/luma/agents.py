"""The Agents API: how its generation object is read.

It has no callbacks and echoes no request. Its asset URLs are presigned for an hour and minted
anew at every read, so an observation says until when they can be used.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from service.domain.generation import Observation, Source
from service.luma import reading
from service.luma.reading import instant, label, prose, usable_id

NAME = "agents"
_LIFETIME = timedelta(hours=1)
_SHORTEST = timedelta(minutes=1)
_MARGIN = 0.9  # a URL that we hand out should live long enough to be used


def read(body: Mapping[str, Any], source: Source, at: datetime) -> Observation:
    """What one generation body, received at `at`, says.

    Raises:
        Unreadable: it has no usable id.
    """
    outputs = reading.outputs(body.get("output"))
    operation = label(body.get("type"))
    return Observation(
        id=usable_id(body),
        upstream=NAME,
        source=source,
        state=label(body.get("state")),
        generation_type=_kind(operation),
        operation=operation,
        model=label(body.get("model")),
        prompt=prose(body.get("prompt")),
        created_at=instant(body.get("created_at")),
        failure_reason=prose(body.get("failure_reason")),
        failure_code=label(body.get("failure_code")),
        assets=_assets(outputs),
        outputs=outputs,
        assets_expire_at=_expiry(outputs, at),
        request=reading.request(body.get("request")),
    )


def _kind(operation: str | None) -> str | None:
    """`video_edit` makes a video; all the others but `video…` make images."""
    if operation is None:
        return None
    return "video" if operation.startswith("video") else "image"


def _assets(outputs: tuple[Mapping[str, Any], ...]) -> dict[str, str]:
    """The first output of each type, under the name that Dream Machine gives it."""
    assets: dict[str, str] = {}
    for output in outputs:
        assets.setdefault(label(output.get("type")) or "image", output["url"])
    return assets


def _expiry(outputs: tuple[Mapping[str, Any], ...], at: datetime) -> datetime | None:
    """When the first of the presigned URLs should be replaced; None without any URL."""
    return min((_url_expiry(output["url"], at) for output in outputs), default=None)


def _url_expiry(url: str, at: datetime) -> datetime:
    """By the URL's own signature; counted from `at` where it has none or our clocks disagree."""
    try:
        query = parse_qs(urlsplit(url).query)
        lifetime = timedelta(seconds=float(query["X-Amz-Expires"][0]))
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expiry = signed + lifetime * _MARGIN
    except (KeyError, ValueError, OverflowError):
        return at + _LIFETIME * _MARGIN
    # It was minted for us just now, so it cannot be dead yet.
    return expiry if expiry > at else at + max(lifetime, _SHORTEST) * _MARGIN
