"""Callback tokens: what makes a callback URL worth keeping to oneself.

    <key id>.any.<signature>        for any generation
    <key id>.one-<nonce>.<signature>   for one generation: the first that it is used for

Whoever can present one was given the URL by us, by Luma, or by somebody who leaked it; which is
why a callback is a claim and no more.
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
    """What an accepted token allows; `nonce` is None for any generation."""

    nonce: str | None = None


_ANYTHING = Grant()


class CallbackTokens:
    """Makes and checks tokens.

    Args:
        secrets: newest first; the newest signs, all are accepted, so that keys can rotate.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signers = {_key_id(secret): _signer(secret) for secret in reversed(secrets)}
        self._newest = _key_id(secrets[0])
        self._reusable = {self._sign(_REUSABLE, key_id) for key_id in self._signers}

    def reusable(self) -> str:
        """A token for any generation; always the same one for the same secret."""
        return self._sign(_REUSABLE, self._newest)

    def single(self) -> str:
        """A token for the first generation that it is used for, and no other."""
        return self._sign(_SINGLE + secrets.token_urlsafe(16), self._newest)

    def grant(self, token: str) -> Grant | None:
        """What a token allows; None if we did not make it, found out in constant time."""
        if token in self._reusable:  # compared by hash first, with a key that nobody knows
            return _ANYTHING
        signer = self._signers.get(token.partition(".")[0], self._signers[self._newest])
        sent = token.encode("utf-8", "replace")
        value = sent.rpartition(b".")[0]
        if not hmac.compare_digest(signer.sign(value), sent):
            return None
        return Grant(value.decode().partition(".")[2].removeprefix(_SINGLE))

    def _sign(self, subject: str, key_id: str) -> str:
        return self._signers[key_id].sign(f"{key_id}.{subject}").decode()


def _key_id(secret: str) -> str:
    """Names a key without telling anything of it."""
    return hashlib.sha256(b"luma-tracker.key-id:" + secret.encode()).hexdigest()[:8]


def _signer(secret: str) -> Signer:
    """The key is derived once; the signer would derive it anew for each signature."""
    salt = b"luma-tracker.callback"
    derived = hmac.digest(secret.encode(), salt, hashlib.sha256)
    return Signer(derived, salt=salt, sep=".", key_derivation="none", digest_method=hashlib.sha256)
