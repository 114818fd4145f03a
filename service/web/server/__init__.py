"""The HTTP server: uvicorn's protocol with limits, and with responses that need no task.

protocol       enforces the limits of a connection, and refuses what exceeds them
connections    limits the number of connections
limits         the limits
fast_protocol  calls `respond` of the application before it starts a task
prepared       responses that are sent in one piece
body           reads request bodies, for applications on any server
"""
