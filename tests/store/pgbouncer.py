"""A PgBouncer of a test's own, before a PostgreSQL of its own. Skips where it is not installed (CI=true: fails)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL

from tests.support.own_postgres import OwnPostgres
from tests.support.servers import missing
from tests.support.stack import free_port

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


@contextmanager
def pgbouncer(server: OwnPostgres, *, mode: str, ignores: str = "") -> Iterator[URL]:
    """Runs one; gives the store's URL by way of it.

    Args:
        mode: `pool_mode`.
        ignores: `ignore_startup_parameters`.
    """
    if PROGRAM is None:
        missing("the program pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="leadcast-pgbouncer-"))
    url, port = server.url, free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""
        [databases]
        {url.database} = host={url.host} port={url.port} user={url.username} password={url.password}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = {mode}
        ignore_startup_parameters = {ignores}
        """.replace("        ", "")
    )
    as_account = ["-u", "nobody"] if os.getuid() == 0 else []  # it does not run as root
    if as_account:
        folder.chmod(0o755)
    process = subprocess.Popen(
        [str(PROGRAM), *as_account, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield url.set(port=port)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "PgBouncer does not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        threading.Event().wait(0.05)
    raise AssertionError("PgBouncer does not answer")
