"""The route of assets: what the archive keeps, else a redirect to Luma's URL."""

import re
from http import HTTPStatus
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import RedirectResponse, Response, StreamingResponse

from service.errors import NotFound
from service.storage.archive import ArchivedFile
from service.storage.representation import Representation
from service.tracking.archive.assets import name_of, urls_of
from service.tracking.tracker import Tracker
from service.web.parameters import GenerationId, Strict, TheTracker
from service.web.problems import problem, responses
from service.web.responses.generation import etag_matches

router = APIRouter(prefix="/v1", tags=["generations"])

_INLINE = re.compile(r"video/[a-z0-9.+-]+|audio/[a-z0-9.+-]+|image/(?!svg)[a-z0-9.-]+")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.get(
    "/generations/{generation_id}/assets/{name}",
    summary="Get an asset",
    operation_id="getGenerationAsset",
    response_class=Response,
    responses={
        **responses(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        200: {"description": "The asset, from the archive."},
        206: {"description": "The part of it that `Range` asks for."},
        304: {"description": "Not modified: your copy is current."},
        307: {"description": "It is not archived: Luma's URL."},
    },
)
async def get_asset(
    generation_id: GenerationId,
    name: Annotated[str, Path(description="`video`, `image`, or the number of an output.")],
    _: Annotated[Strict, Query()],
    tracker: TheTracker,
    range_: Annotated[str | None, Header(alias="range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answers with the archived file, or redirects to Luma's URL, fetched anew if it has died."""
    found = (await tracker.lookup(generation_id)).representation
    generation = found.generation()
    known = name_of(name, generation.assets, generation.outputs)
    if kept := await tracker.archive.find(generation_id, known or name):
        tag = _etag(kept)
        if if_none_match and etag_matches(if_none_match, tag):
            return Response(None, HTTPStatus.NOT_MODIFIED, _headers(kept))
        wanted = range_ if if_range in (None, tag) else None
        if response := await _archived(tracker, kept, wanted):
            return response
    return await _redirect(tracker, found, known, name)


async def _redirect(
    tracker: Tracker, found: Representation, known: str | None, name: str
) -> Response:
    """Redirect to Luma's URL of the asset `known`, for which the client asked as `name`."""
    url = ""
    if known:
        generation = found.generation()
        named = urls_of(generation.assets, generation.outputs)[known]
        url = await tracker.archive.redirects.living(found, known, named)
    if not url.startswith(("https://", "http://")):
        raise NotFound(f"The generation has no asset {name[:64]!r}.", "Look at `assets`.")
    return RedirectResponse(url, HTTPStatus.TEMPORARY_REDIRECT)


async def _archived(tracker: Tracker, kept: ArchivedFile, range_: str | None) -> Response | None:
    """Send the archived file, or the part of it that `range_` asks for; None: it is not there."""
    part = _part_of(range_, kept.bytes)
    if part is None:
        return problem(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The asset has {kept.bytes} bytes.",
            hint="Ask for a `Range` within them.",
            headers={"Content-Range": f"bytes */{kept.bytes}"},
        )
    start, end, status = part
    headers = {**_headers(kept), "Content-Length": str(end - start)}
    if status is HTTPStatus.PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{kept.bytes}"
    chunks = await tracker.archive.open(kept, start, end)
    if chunks is None:
        return None
    return StreamingResponse(chunks, status, headers, media_type=kept.content_type)


class _Part(NamedTuple):
    """The bytes of an answer, up to before `end`."""

    start: int
    end: int
    status: HTTPStatus = HTTPStatus.PARTIAL_CONTENT  # also if it is a range over all bytes


def _part_of(range_: str | None, size: int) -> _Part | None:
    """Return the part that a `Range` asks for; None: the file has none of it.

    Any other unit, and more than one range, mean the whole (RFC 9110, 14.2).
    """
    whole = _Part(0, size, HTTPStatus.OK)
    found = _RANGE.fullmatch(range_ or "")
    if found is None or found[0] == "bytes=-":
        return whole
    first, last = found[1], found[2]
    if not first:
        return _Part(max(0, size - int(last)), size) if int(last) and size else None
    if last and int(last) < int(first):
        return whole
    end = min(size, int(last) + 1) if last else size
    return _Part(int(first), end) if int(first) < size else None


def _headers(kept: ArchivedFile) -> dict[str, str]:
    file_name = kept.path.rpartition("/")[2]
    how = "inline" if _INLINE.fullmatch(kept.content_type) else "attachment"
    return {
        "ETag": _etag(kept),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'{how}; filename="{kept.generation_id[:36]}-{file_name}"',
        "X-Content-Type-Options": "nosniff",
    }


def _etag(kept: ArchivedFile) -> str:
    return f'"{kept.sha256}"'
