"""The routes, a module for each topic.

generations  `/v1/generations`: lookup, list, history
events       `/v1/events`: all changes, as pages or as a stream
assets       `/v1/generations/{id}/assets/`: what the archive keeps, else redirects to Luma
deliveries   `/v1/deliveries`: the inbox, and replays
submissions  `/v1/submissions`: creates that passed through the gateway
webhooks     `/v1/webhooks`: endpoints, and the attempts to send to them
backfill     `/v1/backfill`: starts it, and says how far it is
stats        `/v1/stats`: statistics
health       `/healthz`, `/readyz`, `/metrics`
docs         `/docs`, `/redoc`, `/static/`: the API for people
openapi      additions to `/openapi.json`

`POST /callbacks/` is in `service.web.callbacks`, `/mcp` in `service.web.mcp`.
"""
