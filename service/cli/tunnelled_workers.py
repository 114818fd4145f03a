"""Workers whose callbacks come through a tunnel, which this process runs beside them.

    internet ─► cloudflared ─► loopback socket ─► workers: /callbacks/ only
    this machine ────────────► listening socket ─► workers: everything

The workers start when the tunnel has a URL: it is their public URL. If the tunnel ends, it is
started again; as its URL is a new one, the workers are then replaced.
"""

import signal
from collections.abc import Mapping

from service.cli.listener import Listeners
from service.cli.tunnel import Tunnel
from service.cli.workers import STOPS, Workers
from service.errors import SettingsError
from service.logs import log


class TunnelledWorkers(Workers):
    """Starts the tunnel, then the workers; ends the tunnel first.

    Args:
        listeners: both sockets.
        count: number of workers.
        environment: the environment of each worker.
        tunnel: leads to the socket for callbacks.
    """

    def __init__(
        self, listeners: Listeners, count: int, environment: Mapping[str, str], tunnel: Tunnel
    ) -> None:
        super().__init__(listeners, count, environment)
        self._tunnel = tunnel

    def run(self) -> bool:
        """Run until all workers have ended.

        Raises:
            SettingsError: the tunnel could not be opened at the start.
        """
        try:
            return super().run()
        finally:
            self._tunnel.close()

    def _start_due(self) -> None:
        if url := self._tunnel.take_url():
            log.info("tunnel_opened", url=url)
            self._environment = {**self._environment, "TRACKER_PUBLIC_URL": url}
            self._replace_all()
        self._tunnel.act_if_due()
        if self._tunnel.url:
            super()._start_due()
        else:
            self._set_alarm()

    def _due_times(self) -> list[float]:
        """When the next worker or the tunnel is due; without a URL, no worker is."""
        return [*(super()._due_times() if self._tunnel.url else ()), self._tunnel.due_at]

    def _react(self, received: int) -> None:
        if received in STOPS and self._tunnel.pid and not self._stopping:
            self._stopping = True
            self._tunnel.ask_to_end()
            self._set_alarm()
            return
        super()._react(received)
        if self._stopping and self._tunnel.pid:
            self._tunnel.act_if_due()

    def _record_ends(self) -> None:
        super()._record_ends()
        if not self._tunnel.record_end():
            return
        if self._stopping:
            self._pass_on(signal.SIGTERM)
        elif self._tunnel.url is None:
            raise SettingsError(
                f"--tunnel: cloudflared opened no tunnel. It ended with: {self._tunnel.last_line}",
                "Check the network, or set TRACKER_PUBLIC_URL instead; docs/reaching.md shows how.",
            )
        else:
            hint = "It is started again, with a new URL. Until then Luma is polled."
            log.error("tunnel_closed", reason=self._tunnel.last_line, hint=hint)
