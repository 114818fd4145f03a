"""All tools, by name, in the order in which they are listed."""

from service.mcp_server import account, derived_videos, images, reading, videos
from service.mcp_server.tool import TrackerTool

_MODULES = (reading, videos, derived_videos, images, account)

TOOLS: dict[str, TrackerTool] = {
    tool.definition.name: tool for module in _MODULES for tool in module.TOOLS
}
