"""Dream Machine v1: how its generation object is read.

Bodies of several ages are about: older ones say `type` for `generation_type` and `version` for
`model`, `assets` is null before completion (but may hold a partial render), and `request`
names the operation, which `generation_type` (only ever video or image) does not.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.domain.generation import Observation, Source
from service.luma import reading
from service.luma.reading import guess, instant, label, mapping, prose, urls, usable_id

NAME = "dream_machine"


def read(body: Mapping[str, Any], source: Source, at: datetime) -> Observation:  # noqa: ARG001
    """What one generation body, received at `at`, says.

    Raises:
        Unreadable: it has no usable id.
    """
    request = mapping(body.get("request"))
    generation_type = label(body.get("generation_type")) or label(body.get("type"))
    operation = label(request.get("generation_type")) or label(request.get("type"))
    return Observation(
        id=usable_id(body),
        upstream=NAME,
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
    )
