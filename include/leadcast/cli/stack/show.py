"""What the commands of the local stack show: its programs, and where to look."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from leadcast.cli.show import coloured
from leadcast.client.loopback import loopback_url
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.stack import Status


def programs(status: Status) -> Table:
    """The stack's programs and what Airflow says of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("program", "state", "health", "pid", "up for"):
        table.add_column(heading)
    for state in status.programs:
        health = status.health.get(state.program.health_name)
        since = state.description.partition("uptime ")[2]
        table.add_row(
            state.program,
            coloured(state.state),
            coloured(health.status if health else ""),
            str(state.pid or ""),
            escape(since),
        )
    return table


def from_here(path: Path) -> str:
    """A path as it can be typed in the working folder: relative below it, else absolute."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def addresses(ports: Ports, home: Home, console: Console, *, has_lead_123: bool = False) -> None:
    """Where to look, and what to try next. Lines are not broken, so that addresses can be copied."""
    api = f"{ports.api_url}/api/integrations"
    program = "leadcast" if shutil.which("leadcast") else from_here(Path(sys.executable).with_name("leadcast"))
    lead_123 = shlex.quote(from_here(home.project / "examples" / "lead-123.json"))
    next_one = f"send {lead_123} --wait" if has_lead_123 else "up --demo  sends lead 123 to all five"
    sandbox = loopback_url(ports.sandbox.control)
    if console.is_terminal:
        # Elsewhere it would be kept, in a log of CI, say.
        sandbox += f"/#token={Keys.read(home).sandbox.get_secret_value()}"
    for what, where in (
        ("Airflow", f"{ports.api_url}  users admin, user, viewer; passwords in {home.passwords_file}"),
        ("Monitor", f"{api}/ui"),
        ("API docs", f"{api}/docs"),
        ("Sandbox", f"{sandbox}  what the services have received; token in {home.sandbox_token_file}"),
        ("Logs", f"{home.logs}"),
        ("Next", f"{program} {next_one}"),
        ("", f"{program} status, doctor, token, down"),
    ):
        console.print(f"[bold]{what:<9}[/]{escape(where)}", highlight=False, soft_wrap=True)
