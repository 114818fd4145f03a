"""Callback tokens: the secret part of a callback URL.

    <key id>.any.<signature>           reusable: for any generation
    <key id>.one-<nonce>.<signature>   single: for one generation, the first that it is used for

A token does not prove that Luma is the sender, because the URL may have leaked. A callback is
therefore only a claim.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from itsdangerous import Signer

_REUSABLE = "any"
_SINGLE = "one-"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid token allows: any generation, or, with a `nonce`, only one."""

    nonce: str | None = None


_ANY_GENERATION = Grant()


class CallbackTokens:
    """Creates and verifies tokens.

    Args:
        secrets: the signing secrets, newest first. The newest signs new tokens; tokens signed
            with any of them are valid, so that secrets can be rotated.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signers = {_key_id(secret): _signer(secret) for secret in reversed(secrets)}
        self._newest = _key_id(secrets[0])
        self._reusable = {self._sign(_REUSABLE, key_id) for key_id in self._signers}

    def reusable(self) -> str:
        """Return the token for any generation; it is always the same for the same secret."""
        return self._sign(_REUSABLE, self._newest)

    def single(self) -> str:
        """Create a token that is valid only for the first generation that it is used for."""
        return self._sign(_SINGLE + secrets.token_urlsafe(16), self._newest)

    def grant(self, token: str) -> Grant | None:
        """Return what a token allows; None if it is invalid. The comparison is constant-time."""
        if token in self._reusable:  # no timing leak: str hashes are keyed with a random secret
            return _ANY_GENERATION
        signer = self._signers.get(token.partition(".")[0], self._signers[self._newest])
        sent = token.encode("utf-8", "replace")
        value = sent.rpartition(b".")[0]
        if not hmac.compare_digest(signer.sign(value), sent):
            return None
        return Grant(value.decode().partition(".")[2].removeprefix(_SINGLE))

    def _sign(self, subject: str, key_id: str) -> str:
        return self._signers[key_id].sign(f"{key_id}.{subject}").decode()


def _key_id(secret: str) -> str:
    """Return a name for a secret that reveals nothing about it."""
    return hashlib.sha256(b"luma-tracker.key-id:" + secret.encode()).hexdigest()[:8]


def _signer(secret: str) -> Signer:
    """Derive the key once; by default the signer would derive it for every signature."""
    salt = b"luma-tracker.callback"
    derived = hmac.digest(secret.encode(), salt, hashlib.sha256)
    return Signer(derived, salt=salt, sep=".", key_derivation="none", digest_method=hashlib.sha256)
