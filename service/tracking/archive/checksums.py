"""What a server says about the content of an asset, and whether that is what came.

Understood are `Content-MD5`, `Repr-Digest` (RFC 9530), `X-Goog-Hash` of Google Cloud Storage, and
the `ETag` of Amazon S3. An ETag of other servers may be anything.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_CHUNK = 1 << 20
_REPR_DIGEST = re.compile(r"\bsha-256=:([A-Za-z0-9+/=]+):")
_GOOGLE = re.compile(r"\bmd5=([A-Za-z0-9+/=]+)")
_S3_ETAG = re.compile(r'"([0-9a-f]{32})"')
_ENCRYPTION = "x-amz-server-side-encryption"


class Checksum(NamedTuple):
    """What a server says: the name of an algorithm, and the digest that it gives."""

    algorithm: str
    digest: bytes


def announced(headers: Mapping[str, str], *, partial: bool) -> Checksum | None:
    """Return what the server says about the whole asset.

    Args:
        headers: of the answer; the names are in small letters.
        partial: whether the answer has a part of the asset; `Content-MD5` is that of the part.
    """
    if found := _REPR_DIGEST.search(headers.get("repr-digest", "")):
        return _decoded("sha256", found[1])
    if found := _GOOGLE.search(headers.get("x-goog-hash", "")):
        return _decoded("md5", found[1])
    if not partial and (md5 := headers.get("content-md5")):
        return _decoded("md5", md5)
    found = _S3_ETAG.fullmatch(headers.get("etag", ""))
    if found and headers.get("server") == "AmazonS3" and _is_md5(headers):
        return Checksum("md5", bytes.fromhex(found[1]))
    return None


class Digest:
    """Hashes an asset while it comes: its SHA-256, and what is expected of it.

    Args:
        expected: what the server says; None: nothing.
    """

    def __init__(self, expected: Checksum | None) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._hashes = {"sha256": self._sha256}
        if expected and expected.algorithm not in self._hashes:
            self._hashes[expected.algorithm] = hashlib.new(expected.algorithm)

    @property
    def sha256(self) -> str:
        """The SHA-256 so far, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def is_expected(self) -> bool:
        """Whether the content is what the server says, if it says anything."""
        expected = self._expected
        return expected is None or self._hashes[expected.algorithm].digest() == expected.digest

    def update(self, content: bytes | memoryview) -> None:
        """Hash what follows."""
        for each in self._hashes.values():
            each.update(content)

    def update_from(self, path: Path) -> None:
        """Hash a file."""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                self.update(chunk)


def _is_md5(headers: Mapping[str, str]) -> bool:
    """Whether the ETag of S3 is an MD5: not if a key of the customer's encrypts the object."""
    by_customer = any(name.startswith(f"{_ENCRYPTION}-customer") for name in headers)
    return not by_customer and headers.get(_ENCRYPTION, "AES256") == "AES256"


def _decoded(algorithm: str, digest: str) -> Checksum | None:
    """Return the checksum; None if it is malformed, and so says nothing."""
    try:
        decoded = base64.b64decode(digest, validate=True)
    except binascii.Error:
        return None
    size = hashlib.new(algorithm).digest_size
    return Checksum(algorithm, decoded) if len(decoded) == size else None
