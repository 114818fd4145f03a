"""Luma's two APIs, Dream Machine and Agents: requests to them, and parsing of what they return.

All requests to Luma go out through this package; it is the only one that uses httpx besides the
simulator. It does not use the database.

upstream         one API with its key: fetches a generation, or asks all APIs concurrently
admission        admission control: rate limit, circuit breaker and request metrics
rate_limiter     keeps requests within the configured rate, in this process or across processes
circuit_breaker  pauses an upstream after failures, and probes it with one request
relay            requests that are passed on to Luma as they are, and Luma's answers
relay_http       the httpx part of that, as streams
client           the shared HTTP client, created on first use
http             the httpx part of the client: HTTP outcomes become the service's errors
dream_machine    parses a Dream Machine generation into an observation
agents           parses an Agents API generation into an observation
lists            parses a page of generations into observations
content_coding   decodes compressed bodies, within a limit
bodies           parses JSON into clean values
reading          the field readers that both parsers use
prices           estimates the cost of a generation, from the price lists in `prices.json`
"""

from service.luma.admission import AdmissionControl
from service.luma.client import LumaClient
from service.luma.lists import Listed, ListPage
from service.luma.rate_limiter import RequestLog
from service.luma.upstream import Upstream, fetch_from_any

__all__ = [
    "AdmissionControl",
    "ListPage",
    "Listed",
    "LumaClient",
    "RequestLog",
    "Upstream",
    "fetch_from_any",
]
