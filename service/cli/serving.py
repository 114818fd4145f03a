"""Runs the service, and says where and how it can be reached."""

import logging
import socket
import sys

import uvicorn

from service.app import create_app
from service.config import Settings, callback_secrets
from service.errors import SettingsError
from service.tokens import CallbackTokens

_BACKLOG = 2048
_log = logging.getLogger("luma_tracker")


def serve(settings: Settings) -> None:
    """Run until a signal ends it. The socket listens before anything slow is done.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    log_to_stderr()
    listener = _listen(settings)
    bound = settings.model_copy(update={"port": listener.getsockname()[1]})
    app = create_app(bound)
    _introduce(bound)
    config = uvicorn.Config(app, access_log=False, log_config=None, server_header=False)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        _log.info("stopped")


def log_to_stderr() -> None:
    """Our own lines and what is wrong elsewhere, on stderr; stdout is for answers."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    _log.setLevel(logging.INFO)


def callback_url(settings: Settings) -> str:
    """A reusable callback URL."""
    token = CallbackTokens(callback_secrets(settings)).reusable()
    return f"{settings.callback_base}/callbacks/{token}"


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"TRACKER_HOST, TRACKER_PORT: cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror}."
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _introduce(settings: Settings) -> None:
    _log.info("listening on %s", settings.own_url)
    _log.info("database: %s", settings.database_path)
    upstreams = {
        "Dream Machine": settings.luma_api_key,
        "Agents API": settings.luma_agents_api_key,
    }
    with_key = [name for name, key in upstreams.items() if key]
    _log.info("upstreams: %s", ", ".join(with_key) or "none, no API key is set")
    if settings.public_url is None:
        _log.info("TRACKER_PUBLIC_URL is not set: Luma cannot call back, lookups ask it instead")
