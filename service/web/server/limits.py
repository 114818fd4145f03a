"""How much, how many and how long: the limits of what clients may make the server hold."""

from dataclasses import dataclass

MAX_BODY = 1024 * 1024
"""Bytes of a body that is read whole: a callback's, an MCP request's."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one connection, and of their number.

    Bytes are counted by the piece, so the server may take up to two pieces more.
    """

    head: int = 64 * 1024
    """Bytes of a request line and its fields; and of the trailers after a chunked body."""
    fields: int = 1000
    """Header fields of one request."""
    piece: int = 2048
    """Bytes that are parsed before the limits are looked at again."""
    pipelined: int = 16
    """Requests that may wait on one connection; what was sent beyond them is read later."""
    head_seconds: float = 10.0
    """For a request to begin, and from then on for its head to be whole."""
    body_seconds: float = 10.0
    """For a body to be whole, counted from the end of its head, answered or not."""
    answer_seconds: float = 30.0
    """For an answer to be taken by the client; a large one has longer, by `answer_rate`."""
    answer_rate: int = 16 * 1024
    """Bytes a second at which a client has to take a large answer."""
    connections: int = 4096
    """Connections of one process."""
    spare_descriptors: int = 128
    """File descriptors that connections leave to everything else."""
    look_seconds: float = 0.5
    """How often a connection's clock is looked at."""
