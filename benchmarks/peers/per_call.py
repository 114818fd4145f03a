"""The tool that agents use today: an HTTP client for each call, and each call asks Luma.

python -m benchmarks.peers.per_call LUMA_URL
"""

import sys
from typing import Any

import httpx
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette

from benchmarks.peers.serving import serve


def make(luma_url: str) -> Starlette:
    """The tool, over HTTP."""
    server = MCPServer("luma")

    @server.tool()
    async def get_generation(generation_id: str) -> str:
        """Get the state of a generation."""
        headers = {"Authorization": "Bearer luma-key"}
        async with httpx.AsyncClient(base_url=luma_url, headers=headers) as client:
            answer = await client.get(f"generations/{generation_id}")
            answer.raise_for_status()
        return _told(answer.json())

    return server.streamable_http_app(json_response=True, stateless_http=True)


def _told(generation: dict[str, Any]) -> str:
    """The four lines."""
    lines = [f"Generation ID: {generation['id']}", f"State: {generation['state']}"]
    if reason := generation.get("failure_reason"):
        lines.append(f"Reason: {reason}")
    if video := (generation.get("assets") or {}).get("video"):
        lines.append(f"Video URL: {video}")
    return "\n".join(lines)


if __name__ == "__main__":
    serve(make(sys.argv[1]))
