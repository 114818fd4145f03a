"""A real S3 server for tests: SeaweedFS, from the development dependencies."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.waiting import until

_PARTS = ("master", "volume", "filer", "s3")
_KEY, _SECRET = "key-of-the-tests", "secret-of-the-tests"
_STARTS = 3  # somebody else can take a free port before the server does


@dataclass(frozen=True)
class Bucket:
    """A bucket on a running server."""

    endpoint: str
    name: str = "kept"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
        }

    def files(self, prefix: str) -> dict[str, bytes]:
        """What is below a prefix, by path, read past our own code."""
        found = [each for page in self._store.list(f"{prefix}/") for each in page]
        return {each["path"]: bytes(self._store.get(each["path"]).bytes()) for each in found}

    def is_writable(self) -> bool:
        """Whether its server is ready; it makes the bucket when something is written to it."""
        try:
            self._store.put("probe", b"")
        except BaseError:
            return False
        return True

    @property
    def _store(self) -> S3Store:
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=_KEY,
            secret_access_key=_SECRET,
            client_options={"allow_http": True},
        )


@contextmanager
def run_bucket(folder: Path) -> Iterator[Bucket]:
    """A bucket on a server of its own, for as long as it is entered.

    Without the server's program the test is skipped, except in CI.
    """
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None and not os.environ.get("CI"):
        pytest.skip("there is no SeaweedFS for this system among the development dependencies")
    assert weed, "install the development dependencies"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", certifi.where())  # its clients refuse to know none
        for _ in range(_STARTS):
            with _started(weed, folder) as bucket:
                if bucket:
                    yield bucket
                    return
    raise AssertionError((folder / "log").read_text())


@contextmanager
def _started(weed: str, folder: Path) -> Iterator[Bucket | None]:
    """The server; None: it has ended, as it does if a port is taken."""
    ports = _free_ports()
    process = _start(weed, folder, ports)
    bucket = Bucket(f"http://127.0.0.1:{ports['s3']}")
    try:
        until(lambda: process.poll() is not None or bucket.is_writable(), 60)
        yield bucket if process.poll() is None else None
    finally:
        process.kill()  # asked to end, it waits for its own parts for 15 s
        process.wait(timeout=15)
        _remove_sockets(ports)


def _free_ports() -> dict[str, int]:
    """A port for each part and for its gRPC; all different, since all are open together."""
    with ExitStack() as opened:
        names = [name for part in _PARTS for name in (part, f"{part}.grpc")]
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def _start(weed: str, folder: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    rights = folder / "rights.json"
    owner = {
        "name": "tests",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    rights.write_text(json.dumps({"identities": [owner]}))
    numbers = [
        option
        for part in _PARTS
        for option in (f"-{part}.port={ports[part]}", f"-{part}.port.grpc={ports[part + '.grpc']}")
    ]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [
                *(weed, "-logtostderr", "server", f"-dir={data}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", *numbers),
                *("-filer", f"-filer.localSocket={folder}/filer.sock"),
                *("-s3", f"-s3.localSocket={folder}/s3.sock", f"-s3.config={rights}"),
                *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *("-master.telemetry=false", "-master.electionTimeout=1s"),
                *("-master.volumeSizeLimitMB=1024", "-volume.max=20"),
            ],
            cwd=folder,
            stderr=log,
            stdout=log,
        )


def _remove_sockets(ports: dict[str, int]) -> None:
    for part in _PARTS:
        path = Path(f"/tmp/seaweedfs-{part}-grpc-{ports[part + '.grpc']}.sock")  # noqa: S108
        path.unlink(missing_ok=True)
