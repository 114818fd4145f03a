"""Decodes bodies that were compressed, within a limit."""

import zlib

GZIP = ("gzip", "x-gzip")
GZIP_FORMAT = 16 + zlib.MAX_WBITS
"""What `zlib` calls it."""


def decoded(raw: bytes, coding: str, limit: int) -> bytes:
    """Decode a body, which may be a thousand times as large as its compressed form.

    Args:
        raw: the body as it was sent.
        coding: its `Content-Encoding`; empty if there is none.
        limit: the maximum number of decoded bytes.

    Raises:
        ValueError: the body is too large, or has an encoding that was not requested.
    """
    if coding in ("", "identity"):
        body = raw
    elif coding in GZIP:
        body = _decompressed(raw, limit)
    else:
        raise ValueError("with a content encoding that was not requested")
    if len(body) > limit:
        raise ValueError(f"with more than {limit} bytes")
    return body


def _decompressed(raw: bytes, limit: int) -> bytes:
    """Decompress up to one byte more than allowed, which shows that the body is too large."""
    decompressor = zlib.decompressobj(GZIP_FORMAT)
    try:
        body = decompressor.decompress(raw, limit + 1)
    except zlib.error as error:
        raise ValueError("with a body that is not valid in its content encoding") from error
    if not decompressor.eof and len(body) <= limit:
        raise ValueError("with a body that is not valid in its content encoding")
    return body
