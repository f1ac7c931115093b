"""Faults as the harness sees them: armed as files, fired by whoever passes the point, answered when done."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANY = "any"


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A fault that has happened.

    at: when, in seconds of the epoch. facts: what the process knew: delivery_id, batch_id, run_id, key.
    """

    id: str
    at: float
    pid: int
    facts: dict[str, Any]

    @property
    def delivery_id(self) -> str:
        """The delivery that was hit; empty: none in particular."""
        return str(self.facts.get("delivery_id", ""))

    @property
    def batch_id(self) -> str:
        """The batch that was hit; empty: none in particular."""
        return str(self.facts.get("batch_id", "")) or self.delivery_id.rpartition("-")[0]

    @property
    def run_id(self) -> str:
        """The run that was hit, as far as the point knows it."""
        return str(self.facts.get("run_id", ""))


class Armoury:
    """The folder that the kill points look into (`chaos/inside/kill_points.py` says how)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("armed", "taken", "fired", "done"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def arm(self, fault_id: str, point: str, *, kind: str = ANY, action: str, only: str = "") -> None:
        """Makes the next process that passes the point do this.

        Args:
            kind: integration, channel or DAG that it is for.
            action: die, die_with_parent, or wait (until `done`).
            only: id of the one delivery, batch or run that it is for; empty: whichever comes first.
        """
        new = self.root / f"{fault_id}.arming"
        new.write_text(json.dumps({"id": fault_id, "action": action, "only": only}))
        new.rename(self.root / "armed" / f"{point}~{kind}~{fault_id}")

    def disarm(self, fault_id: str) -> bool:
        """Takes a fault back. False: it was taken already."""
        for path in (self.root / "armed").glob(f"*~{fault_id}"):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            return True
        return False

    def fired(self, fault_id: str) -> Fired | None:
        """The fault, once it has happened."""
        try:
            record = json.loads((self.root / "fired" / f"{fault_id}.json").read_text())
        except FileNotFoundError:
            return None
        return Fired(id=fault_id, at=record["at"], pid=record["pid"], facts=record["facts"])

    def await_fired(self, fault_id: str, *, timeout_s: float) -> Fired | None:
        """Waits for it; None: nobody has come by."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if (fired := self.fired(fault_id)) is not None:
                return fired
            time.sleep(0.05)
        return None if self.disarm(fault_id) else self.fired(fault_id)

    def done(self, fault_id: str) -> None:
        """Whoever waits at the point goes on."""
        (self.root / "done" / fault_id).touch()
