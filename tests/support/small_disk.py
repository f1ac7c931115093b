"""A small disk in memory, to be filled up and freed again. Skips where none can be mounted (with CI=true it fails)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import missing


@dataclass(frozen=True)
class SmallDisk:
    """What lies under `folder`."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        """Until not a byte more goes onto it."""
        with self._filler.open("ab", buffering=0) as filler:
            for block in (b"x" * 65536, b"x"):
                with suppress(OSError):
                    while filler.write(block) == len(block):
                        pass

    def free(self) -> None:
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[SmallDisk]:
    """Mounts one on this folder."""
    options = ["-t", "tmpfs", "-o", f"size={size_mb}m,mode=0700"]
    mounted = subprocess.run(["mount", *options, "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        missing("the right to mount a tmpfs")
    try:
        yield SmallDisk(folder)
    finally:
        # lazily, where a process that was just killed still has a file open on it
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
