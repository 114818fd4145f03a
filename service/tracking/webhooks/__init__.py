"""Webhooks: the endpoints that changes of state are sent to, and the sending.

endpoints  add, list, test and delete endpoints; list and replay attempts
sender     claims due messages, and sends them, in order for each generation and endpoint
shares     divides the requests that may be under way among destinations
attempts   sends one message: signs it, posts it, records the attempt
schemas    response models for endpoints and attempts
"""
