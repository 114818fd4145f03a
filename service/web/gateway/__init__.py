"""The gateway: Luma's own APIs, as their clients know them, served by this service.

A program reaches it by one variable, `LUMAAI_BASE_URL` or `LUMA_BASE_URL`.

routes    finds out what a request is, and turns errors into Luma's form
targets   what a path below the gateway's prefixes means, and which ones it refuses
reads     one generation, from the store
lists     lists, from Luma; from the store while Luma is down
creates   creates, each at most once
passing   everything else, as a stream in both directions
"""

from service.web.gateway.routes import GatewayEndpoint

__all__ = ["GatewayEndpoint"]
