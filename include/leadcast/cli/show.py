"""What the command line shows: a batch, a refusal, what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.core.waits import waited_for

if TYPE_CHECKING:
    from leadcast.store.accounts.circuits import Circuit

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


def circuits(found: Sequence[Circuit]) -> Group:
    """The accounts that are left alone, and below, why."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for heading in ("id", "integration", "account", "since", "tried again", "waiting"):
        table.add_column(heading, overflow="fold")
    for item in found:
        until = f"{item.until.astimezone():%H:%M:%S}" if item.until else "never by itself"
        table.add_row(
            item.account.id[:8],
            escape(item.account.type),
            escape(item.account.label),
            f"{item.opened_at.astimezone():%d.%m. %H:%M}",
            until,
            str(item.waiting),
        )
    reasons = (Text(f"{item.account.id[:8]}  {item.reason}", style="dim") for item in found)
    return Group(table, *reasons, Text("When the cause is mended: leadcast circuits --close ID", overflow="fold"))


def batch(body: Mapping[str, Any]) -> Table:
    """A table of a batch's deliveries, a row each, from what the API says of it."""
    title = f"Lead {escape(str(body['lead_id']))}: {coloured(str(body['status']))}"
    table = Table(title=title, title_justify="left", title_style="", header_style="bold", box=None, pad_edge=False)
    for heading in ("integration", "state", "attempts", "seconds", "queue"):
        table.add_column(heading, no_wrap=True)
    table.add_column("receipt or error")
    for delivery in body["deliveries"]:
        duration_s = delivery["duration_s"]
        table.add_row(
            escape(delivery["type"]),
            coloured(delivery["state"]),
            str(delivery["attempts"]),
            "" if duration_s is None else f"{duration_s:.2f}",
            escape(delivery["queue"]),
            outcome(delivery),
        )
    if body.get("notes"):
        said = "; ".join(f"{'.'.join(map(str, note['loc']))}: {note['msg']}" for note in body["notes"])
        table.caption, table.caption_justify = Text(f"Mended in the lead: {said}", overflow="fold"), "left"
    return table


def outcome(delivery: Mapping[str, Any]) -> Text:
    """A delivery's receipt, cut where it is long, or its error in full."""
    receipt, error = delivery["receipt"], delivery["error"]
    if not receipt and (error or delivery.get("next_attempt_at")):
        said = str(error.get("message") or error.get("code")) if error else ""
        return Text("\n".join(part for part in (said, _next(delivery)) if part), overflow="fold")
    marks = [f"({mark})" for mark in ("merged", "reconciled") if receipt and receipt.get(mark)]
    given = str(receipt.get("external_id") or "accepted") if receipt else ""
    return Text(" ".join([given, *marks]), overflow="ellipsis", no_wrap=True)


def _next(delivery: Mapping[str, Any]) -> str:
    """When it is tried again, in this machine's time, and what it waits for; empty: it is not."""
    at = delivery.get("next_attempt_at")
    if not at:
        return ""
    when = f"{datetime.fromisoformat(at).astimezone():%d.%m. %H:%M:%S}"
    what = delivery.get("waits_for")
    return f"Again at {when}, or a little later; waits for: {waited_for(what)}" if what else f"Again at {when}"


def refusal(error: ApiError, console: Console) -> None:
    """An `application/problem+json` answer as a readable list."""
    problem = error.problem
    console.print(f"[red]✗[/] {escape(str(problem.get('title') or error))}", highlight=False)
    errors = [
        (".".join(str(part) for part in item.get("loc", ())) or "body", str(item.get("msg")))
        for item in problem.get("errors") or ()
    ]
    detail = str(problem.get("detail") or "")
    # The detail of several errors is the first of them.
    if detail and not any(detail.startswith(f"{where}: {message}") for where, message in errors):
        console.print(f"  {escape(detail)}", highlight=False)
    for where, message in errors:
        console.print(f"  [bold]{escape(where)}[/]: {escape(message)}", highlight=False)
    if error.mend:
        console.print(f"  → {escape(error.mend)}", highlight=False, soft_wrap=True)


def trouble(error: StackError, console: Console) -> None:
    """What went wrong, the end of the log that tells why, and the mend."""
    console.print(f"[red]✗[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    if error.log is not None:
        for line in error.log_tail:
            console.print(f"  [dim]│ {escape(line)}[/]", highlight=False, soft_wrap=True)
        console.print(f"  The whole log: {escape(str(error.log))}", highlight=False, soft_wrap=True)
    if error.mend:
        console.print(f"  → {escape(error.mend)}", highlight=False, soft_wrap=True)
