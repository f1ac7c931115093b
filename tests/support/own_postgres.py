"""A PostgreSQL of a test's own, which it may kill, restart, and run out of disk: the local stack's, on a small disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import URL

from leadcast.local import postgres
from leadcast.local.environment import POSTGRES_USER, STORE_DATABASE
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from tests.support.small_disk import SmallDisk, small_disk

ROOT = Path(__file__).parents[2]
DISK_MB = 160
START_TRIES = 600
STOP_TIMEOUT_S = 60


@dataclass
class OwnPostgres:
    """Its server. `url`: the store's database, for an account that is no superuser. `network`: another one that it
    serves besides 127.0.0.1, as address and prefix length."""

    disk: SmallDisk
    home: Home
    ports: Ports
    keys: Keys = field(default_factory=Keys)
    process: subprocess.Popen[bytes] | None = None
    network: str = ""

    @property
    def url(self) -> URL:
        password = self.keys.postgres_user.get_secret_value()
        return URL.create(
            "postgresql+psycopg2", POSTGRES_USER, password, "127.0.0.1", self.ports.postgres, STORE_DATABASE
        )

    def start(self) -> None:
        """Starts the server, after a crash too, and waits until it lets us in."""
        command = postgres.command(self.home, self.ports)
        if self.network:
            command += ["-c", f"listen_addresses=127.0.0.1,{self.network.partition('/')[0]}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(START_TRIES):
            if postgres.is_answering(self.ports, self.keys):
                return
            assert self.process.poll() is None, "PostgreSQL does not start"
            threading.Event().wait(0.05)
        raise AssertionError("PostgreSQL does not answer")

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @contextmanager
    def stands_still(self) -> Iterator[None]:
        """As a machine whose disk hangs: it takes connections and questions, and answers none of them meanwhile."""
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        stopped = [server, *server.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def stop(self) -> None:
        """At once, as `pg_ctl stop -m immediate`: every session breaks off, and the next start has to recover."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def own_postgres(*, network: str = "") -> Iterator[OwnPostgres]:
    """Runs one with the store's database in it, on a disk of its own in memory. Skips where none can be mounted."""
    root = Path(tempfile.mkdtemp(prefix="leadcast-own-postgres-"))
    try:
        with small_disk(root, size_mb=DISK_MB) as disk:
            server = OwnPostgres(disk, Home(root=root, project=ROOT), Ports(api=_api_port()), network=network)
            postgres.ensure_cluster(server.home, server.keys)
            if network:
                with (server.home.postgres / "pg_hba.conf").open("a") as admitted:
                    admitted.write(f"host all all {network} scram-sha-256\n")
            try:
                server.start()
                postgres.ensure_databases(server.ports, server.keys)
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _api_port() -> int:
    """One from which PostgreSQL's port follows that is free."""
    offset = Ports(api=0).postgres
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) - offset
