"""Parses the generation object of Dream Machine v1.

Luma still returns bodies in older formats. They have `type` instead of `generation_type`, and
`version` instead of `model`. Before completion `assets` is null or holds a partial render. The
operation is only in `request`; `generation_type` is always video or image.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.domain.generation import Observation, Source
from service.domain.upstreams import DREAM_MACHINE
from service.luma import reading
from service.luma.reading import guess, instant, label, mapping, prose, urls, usable_id


def read(body: Mapping[str, Any], source: Source, at: datetime) -> Observation:  # noqa: ARG001
    """Parse one generation body, received at `at`.

    Raises:
        Unreadable: the body has no usable id.
    """
    request = mapping(body.get("request"))
    generation_type = label(body.get("generation_type")) or label(body.get("type"))
    operation = label(request.get("generation_type")) or label(request.get("type"))
    return Observation(
        id=usable_id(body),
        upstream=DREAM_MACHINE,
        source=source,
        state=label(body.get("state")),
        generation_type=generation_type,
        operation=operation or generation_type,
        model=label(body.get("model")) or label(body.get("version")) or guess(request.get("model")),
        prompt=prose(request.get("prompt")),
        created_at=instant(body.get("created_at")),
        failure_reason=prose(body.get("failure_reason")),
        assets=urls(body.get("assets")),
        request=reading.request(request),
        document=reading.document(body),
    )
