"""The routes, a module for each topic.

generations  `/v1/generations`: lookup, list, history
events       `/v1/events`: all changes, as pages or as a stream
deliveries   `/v1/deliveries`: the inbox, and replays
health       `/healthz`, `/readyz`, `/metrics`
docs         `/docs`, `/redoc`, `/static/`: the API for people
openapi      additions to `/openapi.json`

`POST /callbacks/` is in `service.web.callbacks`, `/mcp` in `service.web.mcp`.
"""
