"""Pages for people, rendered on the server; `docs/pages.md` says what they show.

generations  `/`: gallery and table
generation   `/generations/{id}`: one generation with its timeline
deliveries   `/deliveries`: the inbox
webhooks     `/webhooks`: endpoints and attempts
stats        `/stats`: what the counters say
sign_in      `/sign-in`, `/sign-out`
timeline     what happened to a generation, from all sources, in one order
snippets     texts to copy: requests, settings of SDKs and MCP clients
media        what of a generation can be looked at
page         what all pages share: navigation, who looks, errors, the policy
rendering    templates to compressed responses
formatting   values for display
paths        paths with query parameters
files        `/static/pages/`: scripts and styles

A new page is a module with a router, a template that extends `base.html`, and an entry of
`page.NAVIGATION`. It gets data from `tracking` by the same query as its REST route.
"""

from service.web.pages import (
    deliveries,
    files,
    generation,
    generations,
    sign_in,
    stats,
    webhooks,
)
from service.web.pages.page import policy, unknown_path

ROUTERS = (
    generations.router,
    generation.router,
    deliveries.router,
    webhooks.router,
    stats.router,
    sign_in.router,
    files.router,
)

__all__ = ["ROUTERS", "policy", "unknown_path"]
