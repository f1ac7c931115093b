"""Whose folders are obeyed: what lies in a project decides which DAGs run, and where leads and tokens go.

As git does with its repositories (safe.directory), a project or a home counts only where nobody else could have written
it. Who could, beside us: root, and the account that our own code belongs to, for that code runs already.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leadcast.client.errors import StackError

VARIABLE = "LEADCAST_SAFE_DIRECTORY"
_PACKAGE = Path(__file__).resolve().parents[1]
_ROOT = 0


class UntrustedFolder(StackError):  # noqa: N818  # a folder, not an error of ours
    """A project or a home that somebody else may write."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whom we trust, and which folders whoever they belong to.

    owners: ids of accounts. folders: of LEADCAST_SAFE_DIRECTORY. everywhere: it was `*`.
    open_too: our own code may be written by everybody, so that a folder which may be, too, gives nobody anything.
    """

    owners: frozenset[int]
    folders: frozenset[Path] = frozenset()
    everywhere: bool = False
    open_too: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Trust:
        """What this process and its environment make of it."""
        us, package = os.geteuid(), _PACKAGE.stat()
        owners = {us, _ROOT, package.st_uid}
        if us == _ROOT and environ.get("SUDO_UID", "").isdecimal():
            owners.add(int(environ["SUDO_UID"]))
        named = [name for name in environ.get(VARIABLE, "").split(os.pathsep) if name]
        return cls(
            owners=frozenset(owners),
            folders=frozenset(Path(name).resolve() for name in named if name != "*"),
            everywhere="*" in named,
            open_too=bool(package.st_mode & stat.S_IWOTH),
        )

    def owns(self, folder: Path) -> bool:
        """Whether it belongs to one whom we trust."""
        return folder.stat().st_uid in self.owners

    def require(self, folder: Path, parts: Iterable[Path]) -> None:
        """Looks at the folder and the parts of it that we obey; those that are not there do not count.

        Raises:
            UntrustedFolder: somebody else may write one of them, and nobody has said that this is well.
        """
        if self.everywhere or folder in self.folders:
            return
        for path in (folder, *parts):
            with suppress(FileNotFoundError, NotADirectoryError):
                if doubt := self._doubt(path):
                    raise UntrustedFolder(
                        f"{path} {doubt}: what is in it is not obeyed.",
                        mend=f"Go to a project of yours. If you trust who can write there: export {VARIABLE}={folder}",
                    )

    def _doubt(self, path: Path) -> str:
        """Why it is not to be trusted; empty: it is."""
        try:
            found = path.stat()
        except PermissionError:
            return "cannot be looked at"
        if found.st_uid not in self.owners:
            return f"belongs to {_account(found.st_uid)}, not to you"
        if found.st_mode & stat.S_IWOTH and not self.open_too:
            return "can be written by everybody (chmod o-w)"
        if found.st_mode & stat.S_IWGRP and not self._is_private(found.st_gid):
            return f"can be written by the group {_group(found.st_gid)} (chmod g-w)"
        return ""

    def _is_private(self, gid: int) -> bool:
        """Whether nobody is in the group but whom we trust: many systems give each account a group of its own."""
        if gid == _ROOT:
            return True
        try:
            members = grp.getgrgid(gid).gr_mem
        except KeyError:
            members = []
        ids = {account.pw_uid for account in pwd.getpwall() if account.pw_gid == gid or account.pw_name in members}
        return ids <= self.owners


def _account(uid: int) -> str:
    with suppress(KeyError):
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    return f"the account {uid}"


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)
