"""Middleware that checks requests before the routes, in this order:

head            turn HEAD into GET
access          refuse requests without permission: 401, 403, 421, 429
slow_log        log slow requests

authentication  the accepted tokens, for `access` and the fast path
sessions        cookies of people who signed in with a token
csrf            the token that writes of a session carry
wrong_tokens    count wrong tokens per address, for `access`
"""
