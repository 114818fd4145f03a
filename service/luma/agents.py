"""Parses the Agents API's generation object.

This API has no callbacks and does not return the original request. Its asset URLs are presigned
for one hour and replaced by new ones in every response, so an observation also carries the time
until which they can be used.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from service.domain.generation import Observation, Source
from service.domain.upstreams import AGENTS
from service.luma import reading
from service.luma.reading import instant, label, prose, usable_id

_LIFETIME = timedelta(hours=1)
_SHORTEST = timedelta(minutes=1)
_MARGIN = 0.9  # URLs are replaced early, so that a client still has time to use one


def read(body: Mapping[str, Any], source: Source, at: datetime) -> Observation:
    """Parse one generation body, received at `at`.

    Raises:
        Unreadable: the body has no usable id.
    """
    outputs = reading.outputs(body.get("output"))
    operation = label(body.get("type"))
    return Observation(
        id=usable_id(body),
        upstream=AGENTS,
        source=source,
        state=label(body.get("state")),
        generation_type=_generation_type(operation),
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
        document=reading.document(body),
    )


def _generation_type(operation: str | None) -> str | None:
    """Return `video` for every operation that begins with "video", and `image` for all others."""
    if operation is None:
        return None
    return "video" if operation.startswith("video") else "image"


def _assets(outputs: tuple[Mapping[str, Any], ...]) -> dict[str, str]:
    """Return the first output of each type, under the name that Dream Machine uses for it."""
    assets: dict[str, str] = {}
    for output in outputs:
        assets.setdefault(label(output.get("type")) or "image", output["url"])
    return assets


def _expiry(outputs: tuple[Mapping[str, Any], ...], at: datetime) -> datetime | None:
    """Return when the first of the presigned URLs has to be replaced; None without URLs."""
    return min((_url_expiry(output["url"], at) for output in outputs), default=None)


def _url_expiry(url: str, at: datetime) -> datetime:
    """Return when to replace a URL, from its signature.

    Counts from `at` if the URL has no signature, or if Luma's clock and ours disagree.
    """
    try:
        query = parse_qs(urlsplit(url).query)
        lifetime = timedelta(seconds=float(query["X-Amz-Expires"][0]))
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expiry = signed + lifetime * _MARGIN
    except (KeyError, ValueError, OverflowError):
        return at + _LIFETIME * _MARGIN
    # The URL was created for this response, so it cannot have expired yet.
    return expiry if expiry > at else at + max(lifetime, _SHORTEST) * _MARGIN
