"""Rows of the archive: how fast it copies, and what lookups notice of it.

The assets come from an nginx, which is faster than whoever downloads from it. The peer is curl,
which writes the same files with as many connections, but checks and flushes nothing.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median

from sqlalchemy import Connection

from benchmarks.asking import Wrong
from benchmarks.filling import lives
from benchmarks.finding import Finding
from benchmarks.processes import Server
from benchmarks.slices import Slice, interleave, told
from benchmarks.stage import Skipped, Stage
from service.domain.generation import Generation
from service.storage import archive, generations, migrating
from service.storage.engine import open_database
from service.tracking.archive.copier import AT_ONCE
from service.tracking.rewriter import Rewriter
from tests.acceptance.proxying import run_nginx

_SIZE = 20 << 20  # bytes of a video
_PATIENCE = 300.0  # seconds
_LONGER = 5
"""Slices of lookups are so many times as long: at first, copies do not know of them."""
_NGINX = """
    user root root;
    pid {folder}/nginx.pid;
    events {{}}
    http {{
        access_log off;
        sendfile on;
        default_type video/mp4;
        server {{
            listen 127.0.0.1:{port};
            root {folder};
            location / {{ try_files /video.mp4 =404; }}
        }}
    }}
"""


def copying(stage: Stage) -> Finding:
    """Videos from a local server to a folder, against curl."""
    if shutil.which("curl") is None:
        raise Skipped("there is no curl")
    videos = 20 if stage.quick else 100
    with _assets(stage) as url:
        runs = [(_ours(stage, url, videos), _curl(stage, url, videos)) for _ in range(3)]
    ours, peer = (
        f"{videos * _SIZE / median(run[side] for run in runs) / 1e6:,.0f} MB/s" for side in (0, 1)
    )
    ratio = median(theirs / mine for mine, theirs in runs)
    return Finding(ratio, ours, peer, f"{videos} videos of {_SIZE >> 20} MB, {AT_ONCE} at a time")


def meanwhile(stage: Stage) -> Finding:
    """Cached lookups while it copies, against a service that has nothing to copy.

    What copies stands still while the other one is measured.
    """
    videos = 1000 if stage.quick else 4000
    with (
        _assets(stage) as url,
        _archiving(stage, url, 0) as idle,
        _archiving(stage, url, videos) as copying,
    ):
        busy, quiet = (
            stage.hammer(each, stage.reading, longer=_LONGER) for each in (copying, idle)
        )
        begun, before = time.monotonic(), _left(copying)
        found = interleave(busy, _while_stopped(copying, quiet), 3 if stage.quick else 10)
        spent, left = time.monotonic() - begun, _left(copying)
    if not left:
        raise Wrong("all was copied before the last lookup")
    also = f"beside {(before - left) * _SIZE / spent / 1e6:,.0f} MB/s"
    return Finding(found.by_rate, told(found.ours), told(found.peer), also)


def _while_stopped(server: Server, load: Callable[[], Slice]) -> Callable[[], Slice]:
    def measured() -> Slice:
        with server.stopped():
            return load()

    return measured


def _ours(stage: Stage, url: str, videos: int) -> float:
    """Seconds until all is kept."""
    with _archiving(stage, url, videos) as server:
        begun = time.monotonic()
        while _left(server):
            if time.monotonic() - begun > _PATIENCE:
                raise Wrong(f"{_left(server)} videos are left after {_PATIENCE:g} s")
            time.sleep(0.05)  # looking takes CPU too
        seconds = time.monotonic() - begun
        kept = [file.stat().st_size for file in _folder(server).rglob("*.mp4")]
        if kept != [_SIZE] * videos:
            raise Wrong(f"{len(kept)} of {videos} videos are kept")
    shutil.rmtree(_folder(server))
    return seconds


def _curl(stage: Stage, url: str, videos: int) -> float:
    folder = stage.folder / "curled"
    folder.mkdir()
    begun = time.monotonic()
    subprocess.run(
        [
            *("curl", "--silent", "--fail", "--parallel", "--parallel-max", str(AT_ONCE)),
            *(f"{url}/[1-{videos}].mp4", "--output", f"{folder}/#1.mp4"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,  # in parallel, it shows its progress even if it must be silent
    )
    seconds = time.monotonic() - begun
    shutil.rmtree(folder)
    return seconds


@contextmanager
def _assets(stage: Stage) -> Iterator[str]:
    """A server whose every path is a video."""
    folder = stage.folder / f"assets-{next(_numbers)}"
    folder.mkdir()
    (folder / "video.mp4").write_bytes(os.urandom(_SIZE))
    with run_nginx(folder, lambda port: _NGINX.format(folder=folder, port=port)) as running:
        yield running.url


@contextmanager
def _archiving(stage: Stage, url: str, videos: int) -> Iterator[Server]:
    """A service that begins to copy these videos at once, and has what the others have."""
    name = f"archiving-{next(_numbers)}"
    database = f"sqlite:///{stage.folder / name}.db"
    shutil.copy(stage.once("settled", lambda: _settled(stage)), stage.folder / f"{name}.db")
    asyncio.run(_add(database, url, videos))
    kept = stage.folder / name / "kept"
    settings = {"TRACKER_ARCHIVE": str(kept), "TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with stage.service(name, database, **settings) as server:
        yield server


def _settled(stage: Stage) -> Path:
    """What the others have, without what a service first does with a database of an older one."""
    path = stage.folder / "settled.db"
    shutil.copy(stage.filled.removeprefix("sqlite:///"), path)
    asyncio.run(_settle(f"sqlite:///{path}"))
    return path


async def _settle(database: str) -> None:
    unmigrated = open_database(database)
    await unmigrated.exclusively(migrating.upgrade)
    await unmigrated.close()
    async with open_database(database) as opened:
        await Rewriter(opened, lambda: datetime.now(UTC)).rewrite()


async def _add(database: str, url: str, videos: int) -> None:
    now = datetime.now(UTC)
    made = [life.rows[-1] for life in lives(2 * videos + 100, now)]
    rows = [
        row._replace(
            id=f"archived-{n}", assets={"video": f"{url}/{n}.mp4"}, outputs=(), gone_at=None
        )
        for n, row in enumerate([row for row in made if row.state == "completed"][:videos])
    ]
    async with open_database(database) as opened:
        await opened.write(_put, rows, now)


def _put(connection: Connection, rows: list[Generation], now: datetime) -> None:
    generations.save(connection, [generations.Change(None, row) for row in rows])
    archive.prepare(connection)
    archive.add_ids(connection, [row.id for row in rows], now)


def _left(server: Server) -> int:
    with closing(sqlite3.connect(server.folder / "tracker.db", timeout=30)) as database:
        left, error = database.execute("SELECT count(*), max(error) FROM copies").fetchone()
    if error:
        raise Wrong(error)
    return int(left)


def _folder(server: Server) -> Path:
    return server.folder / "kept"


_numbers = count()
