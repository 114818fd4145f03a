"""The representation as pydantic writes it: what the database's own must equal, byte for byte."""

from datetime import datetime

from pydantic_core import to_json

from service.domain.generation import Generation
from service.storage.representation import Representation, etag_of
from service.storage.shape import NO_ASSETS, GenerationOut


def body_of(generation: Generation) -> bytes:
    """The generation as JSON."""
    shown = GenerationOut.model_validate(generation)
    shown.assets = {**NO_ASSETS, **shown.assets}
    return shown.model_dump_json().encode()


def luma_body_of(generation: Generation) -> bytes:
    """Luma's own document, with the creator's callback URL in the place of ours."""
    if generation.document is None:
        return b""
    own = to_json(generation.callback_url)
    return generation.document.encode().replace(
        b'"callback_url":"[redacted]"', b'"callback_url":' + own
    )


def representation_of(
    generation: Generation, good_until: datetime | None = None, *, luma: bool = False
) -> Representation:
    """All that is known of it to send it."""
    body = body_of(generation)
    return Representation(
        id=generation.id,
        body=body,
        rev=generation.rev,
        upstream=generation.upstream,
        state=generation.state,
        has_assets=generation.has_assets,
        is_gone=generation.is_gone,
        assets_expire_at=generation.assets_expire_at,
        luma_body=luma_body_of(generation) if luma else None,
        heard_at=generation.heard_at,
        etag=etag_of(body),
        good_until=good_until,
    )
