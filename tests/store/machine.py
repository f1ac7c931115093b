"""Another machine: a network namespace behind a cable that can be pulled out.

What runs there and is killed after that says goodbye to nobody, as with power loss, a kernel panic, a partition. Skips
where none can be made (CI=true: fails).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.servers import missing


@dataclass
class Machine:
    """One machine beside ours. `network`: our address on the cable to it, and the prefix length."""

    name: str
    network: str
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, module: str, argument: str) -> subprocess.Popen[str]:
        """Starts a Python module there."""
        words = ["ip", "netns", "exec", self.name, sys.executable, "-m", module, argument]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def vanish(self) -> None:
        """The cable first, then the processes: nothing that their kernel says on their behalf gets through."""
        _ip("-n", self.name, "link", "set", "cable", "down")
        for process in self._processes:
            process.kill()
            process.wait(60)


@contextmanager
def machine() -> Iterator[Machine]:
    """Makes one, until the block is left."""
    if shutil.which("ip") is None:
        missing("the program `ip` (iproute2)")
    number = os.getpid() % 250 + 1
    # 198.18.0.0/15 is for tests between networks (RFC 2544), and used nowhere
    ours, theirs = f"198.18.{number}.1", f"198.18.{number}.2"
    made = Machine(f"leadcast-{number}", f"{ours}/30")
    cable = f"lc-{number}"
    if _ip("netns", "add", made.name, check=False).returncode != 0:
        missing("the right to make a network namespace")
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", "cable", "netns", made.name)
        _ip("address", "add", made.network, "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", made.name, "address", "add", f"{theirs}/30", "dev", "cable")
        _ip("-n", made.name, "link", "set", "cable", "up")
        yield made
    finally:
        made.vanish()
        _ip("netns", "delete", made.name)


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *words], capture_output=True, check=check)
