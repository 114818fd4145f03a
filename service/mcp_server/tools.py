"""All tools, by name, in the order in which they are listed."""

from service.mcp_server import account, derived_videos, images, reading, videos

_MODULES = (reading, videos, derived_videos, images, account)

TOOLS = {tool.definition.name: tool for module in _MODULES for tool in module.TOOLS}
