"""The view of a generation, for clients that show it in the chat.

The extension of the protocol is MCP Apps, `io.modelcontextprotocol/ui`, of 2026-01-26.

Tools name it in `_meta`. A client that knows the extension reads it as a resource, shows it in a
sandboxed frame, and passes it the results of the tools; all others ignore it.
"""

from pathlib import Path
from typing import Any

from mcp_types import ReadResourceResult, Resource, TextResourceContents

URI = "ui://luma-tracker/generation"
_MIME_TYPE = "text/html;profile=mcp-app"
_HTML = Path(__file__).with_name("view.html").read_text(encoding="utf-8")
_ASSET_HOSTS = [
    "https://*.cdn-luma.com",  # Dream Machine
    "https://*.amazonaws.com",  # the Agents API presigns URLs of S3
]
_META: dict[str, Any] = {
    "ui": {
        "csp": {"connectDomains": [], "resourceDomains": _ASSET_HOSTS, "frameDomains": []},
        "prefersBorder": True,
    }
}

TOOL_META: dict[str, Any] = {"ui": {"resourceUri": URI}}
"""What the definition of a tool says whose results the view shows."""
RESOURCE = Resource(
    uri=URI,
    name="generation-view",
    title="View of a generation",
    description="Shows state, elapsed time and the video or image; for clients with MCP Apps.",
    mime_type=_MIME_TYPE,
    size=len(_HTML.encode()),
    meta=_META,
)


def contents() -> ReadResourceResult:
    """Return the result of reading the view."""
    content = TextResourceContents(uri=URI, mime_type=_MIME_TYPE, text=_HTML, meta=_META)
    return ReadResourceResult(contents=[content])
