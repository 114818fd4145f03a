"""The way that Luma's callbacks take, gone step by step with one of our own.

    name ──► connection (and TLS) ──► POST with a true token ──► answer ──► inbox of this store

Each step is a finding: what is so, or what is wrong and what to do.
"""
