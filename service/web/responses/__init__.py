"""Responses that a route and the fast path must send with the same bytes.

generation   one generation, with `ETag`, `Age` and `Cache-Status`; 304
lists        a page of generations, with the link to the next page
feeds        all generations as a stream of CSV or NDJSON
negotiation  which representation of a list `Accept` prefers
"""
