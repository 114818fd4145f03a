"""Requests to addresses that users name; each address is checked when it is dialled.

dialler      posts a message, bounded in time and size
connections  connections that only open to addresses that may be reached
reply        what a request leads to, and how names are resolved
"""
