"""What the command line shows: the stack's state, a batch, a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from leadcast.local.client import ApiError
from leadcast.local.errors import StackError
from leadcast.local.home import Home
from leadcast.local.ports import Ports, loopback_url
from leadcast.local.stack import Status

_COLOURS = {
    **dict.fromkeys(("completed", "delivered", "RUNNING", "healthy", "ok"), "green"),
    **dict.fromkeys(
        ("partial", "retrying", "unknown", "STARTING", "pending", "sending", "processing", "warn"), "yellow"
    ),
    **dict.fromkeys(("failed", "cancelled", "FATAL", "BACKOFF", "EXITED", "STOPPED", "unhealthy", "fail"), "red"),
}


def coloured(word: str) -> str:
    """A state's word in its colour."""
    colour = _COLOURS.get(word)
    return f"[{colour}]{escape(word)}[/]" if colour else escape(word)


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


def addresses(ports: Ports, home: Home, console: Console) -> None:
    """Where to look, and what to try next. Lines are not broken, so that addresses can be copied."""
    api = f"{ports.api_url}/api/integrations"
    for what, where in (
        ("Airflow", f"{ports.api_url}  users admin, user, viewer; passwords in {home.passwords_file}"),
        ("Monitor", f"{api}/ui"),
        ("API docs", f"{api}/docs"),
        (
            "Sandbox",
            f"{loopback_url(ports.sandbox.control)}  what the services have received, and how to make them fail",
        ),
        ("Logs", f"{home.logs}"),
        ("Next", "leadcast send examples/lead-123.json --wait"),
        ("", "leadcast status · leadcast doctor · leadcast token · leadcast down"),
    ):
        console.print(f"[bold]{what:<9}[/]{escape(where)}", highlight=False, soft_wrap=True)


def batch(body: Mapping[str, Any]) -> Table:
    """A batch's deliveries."""
    title = f"Lead {escape(str(body.get('lead_id')))}: {coloured(str(body.get('status')))}"
    table = Table(title=title, title_justify="left", title_style="", header_style="bold")
    for heading in ("integration", "state", "attempts", "receipt or error", "queue", "seconds"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("attempts", "seconds") else "left")
    for delivery in body.get("deliveries", ()):
        table.add_row(
            escape(str(delivery.get("type"))),
            coloured(str(delivery.get("state"))),
            str(delivery.get("attempts", "")),
            escape(outcome(delivery)),
            escape(str(delivery.get("queue", ""))),
            seconds(delivery),
        )
    return table


def outcome(delivery: Mapping[str, Any]) -> str:
    """A delivery's receipt or error in few words."""
    receipt, error = delivery.get("receipt"), delivery.get("error")
    if isinstance(receipt, Mapping):
        marks = [mark for mark in ("merged", "reconciled") if receipt.get(mark)]
        return " ".join([str(receipt.get("external_id") or "accepted"), *(f"({mark})" for mark in marks)])
    if isinstance(error, Mapping):
        return str(error.get("message") or error.get("detail") or error.get("kind") or "failed")
    return str(error or "")


def seconds(delivery: Mapping[str, Any]) -> str:
    """How long a delivery took, as far as the answer says."""
    durations = delivery.get("durations")
    value = durations.get("run_s") if isinstance(durations, Mapping) else delivery.get("duration_s")
    return f"{value:.2f}" if isinstance(value, int | float) else ""


def refusal(error: ApiError, console: Console) -> None:
    """An `application/problem+json` answer as a readable list."""
    problem = error.problem
    title = str(problem.get("title") or error)
    console.print(f"[red]✗[/] {escape(title)}", highlight=False)
    if detail := problem.get("detail"):
        console.print(f"  {escape(str(detail))}", highlight=False)
    for item in problem.get("errors") or ():
        where = ".".join(str(part) for part in item.get("loc", ())) or "body"
        console.print(f"  [bold]{escape(where)}[/]: {escape(str(item.get('msg')))}", highlight=False)


def trouble(error: StackError, console: Console) -> None:
    """What went wrong, the end of the log that tells why, and the mend."""
    console.print(f"[red]✗[/] {escape(str(error))}", highlight=False)
    if error.log is not None:
        for line in error.log_tail:
            console.print(f"  [dim]│ {escape(line)}[/]", highlight=False, soft_wrap=True)
        console.print(f"  The whole log: {escape(str(error.log))}", highlight=False, soft_wrap=True)
    if error.mend:
        console.print(f"  → {escape(error.mend)}", highlight=False)
