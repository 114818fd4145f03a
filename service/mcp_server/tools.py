"""All tools, by name, in the order in which they are listed."""

from service.mcp_server import account, images, reading, videos

TOOLS = {
    tool.definition.name: tool
    for tool in (*reading.TOOLS, *videos.TOOLS, *images.TOOLS, *account.TOOLS)
}
