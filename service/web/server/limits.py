"""Limits on the size, number and time of what clients send and receive."""

from dataclasses import dataclass

MAX_BODY = 1024 * 1024
"""Bytes of a body that is read completely: of a callback or an MCP request."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a connection, and of the number of connections.

    Bytes are counted per piece, so the server may accept up to two pieces more.
    """

    head: int = 64 * 1024
    """Bytes of a request line and its header fields, and of the trailers after a chunked body."""
    fields: int = 1000
    """Header fields of one request."""
    piece: int = 2048
    """Bytes that are parsed between two checks of the limits."""
    pipelined: int = 16
    """Requests that may wait on one connection; the rest is read later."""
    head_seconds: float = 10.0
    """Seconds until a request must start, and from then on until its head must be complete."""
    body_seconds: float = 10.0
    """Seconds from the end of a head until the body must be complete, whether answered or not."""
    body_rate: int = 16 * 1024
    """Bytes per second at which the time for a large body grows, until it is answered."""
    response_seconds: float = 30.0
    """Seconds until the client must have received a response; longer for large ones."""
    response_rate: int = 16 * 1024
    """Bytes per second at which the time for a large response grows."""
    connections: int = 4096
    """Connections per process."""
    spare_descriptors: int = 128
    """File descriptors that are kept free of connections, for everything else."""
    check_seconds: float = 0.5
    """Seconds between two checks of a connection's timeouts."""
