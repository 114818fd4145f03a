"""The HTTP surface. A request passes the modules in this order:

server            reads HTTP within limits; asks the fast path for an answer without a task
fast_path         answers plain lookups, lists, MCP requests and callbacks; passes on the rest
callbacks         receives Luma's callbacks
mcp               accepts POSTs to `/mcp`, for `service.mcp_server`
security_headers  adds security headers to every response
guards            HEAD, authentication, origin checks, the slow log
api               the routes
gateway           Luma's own APIs, as their clients know them
pages             pages for people
responses         builds responses that the routes and the fast path share

parameters        parameters and dependencies of the routes
problems          error responses (RFC 9457)
luma_errors       error responses below the gateway's paths, in Luma's form
static            `/docs` and `/redoc`: pages, scripts and styles
"""
