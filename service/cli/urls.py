"""Callback URLs."""

from service.config import Settings, callback_secrets
from service.tracking.callback_tokens import CallbackTokens


def callback_url(settings: Settings, *, single: bool) -> str:
    """A callback URL, for any generation or for the first that it is used for."""
    tokens = CallbackTokens(callback_secrets(settings))
    token = tokens.single() if single else tokens.reusable()
    return f"{settings.callback_base}/callbacks/{token}"
