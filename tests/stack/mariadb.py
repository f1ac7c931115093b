"""A MariaDB of a test's own, which it may stop and start again: the machine's programs, a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.servers import missing
from tests.support.stack import free_port

START_TIMEOUT_S = 60


class MariaDb:
    """The server. Its database is called `crm`, and `leadcast` with the password `made-up` may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # mariadbd gives up root only when told to whom
        self._user = ["--user=root"] if os.geteuid() == 0 else []

    @property
    def url(self) -> URL:
        return URL.create("mysql+pymysql", "leadcast", "made-up", "127.0.0.1", self.port, "crm")

    def make(self) -> None:
        """Makes an empty one."""
        data = f"--datadir={self.folder / 'data'}"
        options = ["--no-defaults", data, "--skip-test-db", "--auth-root-authentication-method=normal", *self._user]
        subprocess.run(["mariadb-install-db", *options], check=True, capture_output=True, timeout=120)
        self.start(user="root", database="mysql")
        engine = create_engine(self.url.set(username="root", password="", database="mysql"))
        with engine.begin() as connection:
            connection.execute(text("CREATE DATABASE crm CHARACTER SET utf8mb4"))
            connection.execute(text("CREATE USER leadcast@'127.0.0.1' IDENTIFIED BY 'made-up'"))
            connection.execute(text("GRANT ALL ON crm.* TO leadcast@'127.0.0.1'"))
        engine.dispose()

    def start(self, *, user: str = "leadcast", database: str = "crm") -> None:
        """Starts it, and returns when it answers."""
        log = (self.folder / "log").open("ab")
        command = ["mariadbd", "--no-defaults", f"--datadir={self.folder / 'data'}", *self._user]
        command += [f"--socket={self.folder / 's'}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()
        password = "made-up" if user == "leadcast" else ""
        engine = create_engine(self.url.set(username=user, password=password, database=database))
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                engine.connect().close()
            except OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            else:
                engine.dispose()
                return

    def stop(self) -> None:
        """Stops it. What it keeps stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
            self._process = None


@pytest.fixture(scope="module")
def own_mariadb() -> Iterator[MariaDb]:
    """A running MariaDB that nobody else uses."""
    for program in ("mariadbd", "mariadb-install-db"):
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            missing(f"the program {program}")
    # a short path: that of its socket must not be over 107 characters long
    folder = Path(tempfile.mkdtemp(prefix="leadcast-mariadb-"))
    server = MariaDb(folder)
    try:
        server.make()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
