"""The resources: a generation, its video, the guide to Luma's models and prices, and the view."""

import re
from pathlib import Path

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from service.domain.text import one_line
from service.errors import InvalidInput, NotFound, TrackerError
from service.mcp_server import view
from service.mcp_server.tool import Json
from service.tracking.tracker import Tracker

GUIDE = "luma://guide"
_GUIDE_TEXT = Path(__file__).with_name("guide.md").read_text(encoding="utf-8")
_GENERATION = re.compile(r"generation://([^/]+)(/video)?")

RESOURCES = [
    Resource(
        uri=GUIDE,
        name="guide",
        title="Guide to Luma's models and prices",
        description="Which model for what, what it costs, and which arguments it takes.",
        mime_type="text/markdown",
        size=len(_GUIDE_TEXT.encode()),
    ),
    view.RESOURCE,
]
TEMPLATES = [
    ResourceTemplate(
        uri_template="generation://{id}",
        name="generation",
        title="A Luma generation",
        description="State, request and asset URLs, as get_generation returns them.",
        mime_type="application/json",
    ),
    ResourceTemplate(
        uri_template="generation://{id}/video",
        name="generation-video",
        title="The video of a Luma generation",
        description="The URL of the finished video.",
        mime_type="text/uri-list",
    ),
]


def uri_of(generation_id: str) -> str:
    """Return the URI of a generation."""
    return f"generation://{generation_id}"


async def read(tracker: Tracker, uri: str) -> ReadResourceResult:
    """Return the result of `resources/read`.

    Raises:
        MCPError: there is no such resource, or Luma cannot be asked for it.
    """
    if uri == GUIDE:
        return _contents(uri, "text/markdown", _GUIDE_TEXT)
    if uri == view.URI:
        return view.contents()
    found = _GENERATION.fullmatch(uri)
    if found is None:
        known = "luma://guide, generation://{id}, generation://{id}/video"
        raise _not_found(uri, f"There is no resource {one_line(uri[:200])}. There are {known}.")
    try:
        answer = await tracker.lookup(found[1])
    except (InvalidInput, NotFound) as error:
        raise _not_found(uri, f"{error} {error.hint}") from error
    except TrackerError as error:
        raise MCPError(INTERNAL_ERROR, one_line(f"{error} {error.hint}")) from error
    if not found[2]:
        return _contents(uri, "application/json", answer.representation.body.decode())
    return _contents(uri, "text/uri-list", _video(uri, answer.representation.document()))


def _video(uri: str, generation: Json) -> str:
    url: str | None = generation["assets"]["video"]
    if url is None:
        hint = "Call wait_for_generation." if not generation["terminal"] else "It has none."
        raise _not_found(uri, f"{generation['id']} is {generation['state']}. {hint}")
    return url


def _contents(uri: str, mime_type: str, text: str) -> ReadResourceResult:
    content = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return ReadResourceResult(contents=[content])


def _not_found(uri: str, message: str) -> MCPError:
    return MCPError(INVALID_PARAMS, one_line(message), {"uri": uri})
