"""Callback tokens: what makes a callback URL worth keeping to oneself.

A token is a value signed with our secret. Whoever can present one was given the URL by us, by
Luma, or by somebody who leaked it; which is why a callback is a claim and no more.
"""

import hashlib
from collections.abc import Sequence

from itsdangerous import BadSignature, Signer

_REUSABLE = "any"


class CallbackTokens:
    """Makes and checks tokens.

    Args:
        secrets: newest first; the newest signs, all are accepted, so that keys can rotate.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signer = Signer(
            list(reversed(secrets)),
            salt="luma-tracker.callback",
            sep=".",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def reusable(self) -> str:
        """A token for any generation; always the same one for the same secret."""
        return self._signer.sign(_REUSABLE).decode()

    def accepts(self, token: str) -> bool:
        """Whether we made this token; takes as long for a wrong one as for a right one."""
        try:
            return self._signer.unsign(token.encode()) == _REUSABLE.encode()
        except (BadSignature, UnicodeEncodeError):
            return False
