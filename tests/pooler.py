"""PgBouncer in transaction mode: the next statement may meet another process of the server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.postgres import Server, free_port, owner
from tests.waiting import until

_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


@dataclass
class Pooler:
    """One that stands before a server."""

    port: int

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(psycopg.OperationalError):
            return bool(self.figures("SHOW VERSION"))
        return False

    def figures(self, of: str) -> list[tuple[object, ...]]:
        """What it says of itself."""
        url = f"postgresql://{self.address}/pgbouncer"
        with psycopg.connect(url, autocommit=True) as connection:
            return psycopg.ClientCursor(connection).execute(of.encode()).fetchall()


def installed() -> str | None:
    """Where the program is, if it is; no wheel carries it."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@contextmanager
def pooling(server: Server, size: int) -> Iterator[Pooler]:
    """A pooler with so many connections to each database of the server."""
    program, pooler = installed(), Pooler(free_port())
    assert program, "pgbouncer is not installed, as by `apt-get install pgbouncer`"
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        settings = Path(folder, "pgbouncer.ini")
        settings.write_text(_SETTINGS.format(server=server.port, port=pooler.port, size=size))
        if (user := owner()) is not None:
            os.chown(folder, user, user)
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [program, settings], user=owner(), cwd="/", stdout=log, stderr=log
            )
        try:
            until(pooler.answers, 10)
            yield pooler
        finally:
            process.terminate()
            process.wait(timeout=30)
