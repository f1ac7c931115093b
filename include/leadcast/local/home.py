"""Where the local stack keeps its state: one folder, LEADCAST_HOME, readable by its owner only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from leadcast.client.errors import StackError
from leadcast.local.ports import Ports
from leadcast.local.trust import Trust

_MARKER = Path("dags") / "send_lead.py"
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, and supervisord first binds "<path>.<pid>".
_SOCKET_PATH_MAX_BYTES = 90


class State(BaseModel):
    """What is known of a stack that runs, or ran until it was killed: run/state.json."""

    ports: Ports
    ready: bool = False


@dataclass(frozen=True, kw_only=True)
class Home:
    """The layout of one stack's home. Two stacks side by side have two homes.

    root: LEADCAST_HOME, resolved.
    project: the folder with dags/, plugins/ and include/.
    """

    root: Path
    project: Path

    @classmethod
    def find(cls, environ: Mapping[str, str], *, cwd: Path) -> Home:
        """The home that this environment and working folder mean.

        Raises:
            StackError: no project here, or the home's path cannot be written into a configuration file.
            UntrustedFolder: somebody else may write the project, or the home.
        """
        project = find_project(cwd, environ=environ)
        root = Path(environ.get("LEADCAST_HOME") or project / ".leadcast")
        root = (root if root.is_absolute() else cwd / root).resolve()
        # Supervisor's configuration takes " ;" and " #" for the start of a comment, and knows no escape for it.
        if any(bad in str(path) for path in (root, project) for bad in (" ;", " #", "\n", '"')):
            raise StackError(
                f"The path {str(root)!r} holds one of: ' ;', ' #', '\"', a line break.",
                mend="Set LEADCAST_HOME to a plainer path, or move the project.",
            )
        home = cls(root=root, project=project)
        trust = Trust.of(environ)
        if project not in trust.folders:
            trust.require(root, (home.run, home.keys_file, home.run / "state.json"))
        return home

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data folder."""
        return self.root / "postgres"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        """One file for each program, rotated."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Files of the stack that runs now."""
        return self.root / "run"

    @property
    def work(self) -> Path:
        """Working folder of the programs, empty. It marks them as ours: see `processes`."""
        return self.run / "work"

    @property
    def keys_file(self) -> Path:
        """Generated secrets."""
        return self.root / "keys.json"

    @property
    def passwords_file(self) -> Path:
        """Passwords of Airflow's users, as its simple auth manager reads them."""
        return self.airflow / "passwords.json"

    @property
    def sandbox_token_file(self) -> Path:
        """The token of the sandbox's control service."""
        return self.root / "sandbox-token"

    @property
    def supervisor_conf(self) -> Path:
        """Generated at each start."""
        return self.run / "supervisord.conf"

    @property
    def migrated_file(self) -> Path:
        """Names the Airflow version that the database was migrated to."""
        return self.run / "migrated"

    @property
    def supervisor_socket(self) -> Path:
        """Supervisor's socket; in a private folder under the temporary one where the home's path is too long."""
        wanted = self.run / "supervisor.sock"
        if len(os.fsencode(wanted)) <= _SOCKET_PATH_MAX_BYTES:
            return wanted
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"leadcast-{os.getuid()}-{digest}" / "supervisor.sock"

    def prepare(self) -> None:
        """Makes the folders, readable by their owner only.

        Raises:
            StackError: a folder cannot be made, or is somebody else's.
        """
        private = (self.root, self.airflow, self.logs, self.run, self.work, self.supervisor_socket.parent)
        for folder in private:
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                    raise StackError(
                        f"{folder} belongs to somebody else.",
                        mend="Remove it, or set LEADCAST_HOME to a folder of yours.",
                    )
                # The group's x on the home is PostgreSQL's account, when we are root: see `postgres`.
                folder.chmod(folder.stat().st_mode & 0o710)
            except OSError as error:
                raise StackError(
                    f"{folder} cannot be made: {error.strerror}.", mend="Set LEADCAST_HOME to a folder of yours."
                ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second `up` or `down` of this home out while one is at work.

        Raises:
            StackError: one is at work.
        """
        self.prepare()
        with (self.run / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"Another `leadcast up` or `down` is at work in {self.root}.", mend="Wait until it has ended."
                ) from None
            yield

    def read_state(self) -> State | None:
        """The state file, None when there is none or it is damaged."""
        try:
            return State.model_validate_json((self.run / "state.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def write_state(self, state: State) -> None:
        """Writes the state file."""
        write_private(self.run / "state.json", state.model_dump_json(indent=2))

    def forget_state(self) -> None:
        """Removes what a stack that no longer runs has left."""
        for path in (self.run / "state.json", self.supervisor_socket, self.run / "supervisord.pid"):
            path.unlink(missing_ok=True)
        if self.supervisor_socket.parent != self.run:
            with suppress(OSError):
                self.supervisor_socket.parent.rmdir()


def find_project(cwd: Path, *, environ: Mapping[str, str]) -> Path:
    """The folder with dags/send_lead.py: the working folder, one above it, or the one this package lies in.

    Above it, not beyond the home folder, another file system's border, or a folder of somebody else's.

    Raises:
        StackError: there is none.
        UntrustedFolder: somebody else may write it.
    """
    trust = Trust.of(environ)
    beside_package = Path(__file__).resolve().parents[3]
    for folder in (*_upwards(cwd.resolve(), trust), beside_package):
        if (folder / _MARKER).is_file():
            trust.require(folder, (folder / "dags", folder / _MARKER, folder / "plugins", folder / "include"))
            return folder
    raise StackError(
        f"No Leadcast project (a folder with {_MARKER}) at {cwd} or above.", mend="Go to the project's folder."
    )


def _upwards(cwd: Path, trust: Trust) -> Iterator[Path]:
    last = Path(os.path.expanduser("~"))  # Path's raises where there is no home folder
    with suppress(PermissionError):
        device = cwd.stat().st_dev
        for folder in (cwd, *cwd.parents):
            if folder.stat().st_dev != device:
                return
            yield folder
            if folder == last or not trust.owns(folder):
                return


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
