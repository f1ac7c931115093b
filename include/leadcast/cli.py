"""The command `leadcast`: the local stack, and sending leads from a shell. Each command imports what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leadcast.local.home import Home

EXIT_FAILED = 1
EXIT_NOT_RUNNING = 3

app = typer.Typer(
    help="Sends one lead to several integrations at once, on Apache Airflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show source and values
)

Url = Annotated[str, typer.Option(envvar="LEADCAST_URL", help="Airflow's api-server. Default: the local stack.")]
Token = Annotated[
    str, typer.Option(envvar="LEADCAST_TOKEN", show_envvar=True, help="Airflow token. Default: of the local stack.")
]
User = Annotated[str, typer.Option(help="User of the local stack: admin, user or viewer.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the batch has ended and show its deliveries.")]


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Then store lead 123 and send it to all five.")] = False,
) -> None:
    """Start the local stack: PostgreSQL, Airflow, the sandbox services."""
    from rich.console import Console

    from leadcast.local import session, show, stack
    from leadcast.local.errors import StackError
    from leadcast.local.progress import Progress

    console = Console()
    with session.plain_errors():
        home = session.home_here()
        console.print(f"Leadcast's local stack in {home.root}", highlight=False, soft_wrap=True)
        if not stack.up(home, progress=Progress(console), inherited=os.environ):
            console.print("It runs already.", highlight=False)
        now = stack.status(home)
        console.print(show.programs(now))
        if not now.is_healthy:
            raise StackError("It is not well.", mend="Look into the logs, or: leadcast down, then leadcast up")
        if demo:
            _demo(home)
        show.addresses(now.ports, home, console)


def _demo(home: Home) -> None:
    from rich.console import Console

    from leadcast.local import show, stack
    from leadcast.local.demo import send_demo_lead

    console = Console()
    console.print("Lead 123 goes to all five integrations:", highlight=False)
    body = send_demo_lead(home, stack.log_in(home, user="user"))
    console.print(show.batch(body))
    if body["status"] != "completed":
        console.print(f"[red]✗[/] The batch is {body['status']}, not completed. See: leadcast doctor", highlight=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def down() -> None:
    """End every process of the local stack. What it has stored stays."""
    from rich.console import Console

    from leadcast.local import session, stack
    from leadcast.local.progress import Progress

    console = Console()
    with session.plain_errors():
        home = session.home_here()
        ended = stack.down(home, progress=Progress(console))
        console.print("Ended." if ended else f"No stack runs in {home.root}.", highlight=False)


@app.command()
def status() -> None:
    """Show the local stack's programs and addresses. Exit code 3 when it does not run, 1 when it is unwell."""
    from rich.console import Console

    from leadcast.local import session, show, stack

    console = Console()
    with session.plain_errors():
        home = session.home_here()
        now = stack.status(home)
        if not now.is_running:
            left = f" Of one that was killed, {now.orphans} processes are left: leadcast down" if now.orphans else ""
            console.print(f"No stack runs in {home.root}. Start one: leadcast up.{left}", highlight=False)
            raise typer.Exit(EXIT_NOT_RUNNING)
        console.print(show.programs(now))
        for hint in now.hints:
            console.print(f"✗ {hint}", style="red", markup=False, highlight=False)
        show.addresses(now.ports, home, console)
        if not now.is_healthy:
            raise typer.Exit(EXIT_FAILED)


@app.command()
def token(user: User = "admin") -> None:
    """Print an Airflow token for the local stack.

    For another Airflow, ask its own: POST /auth/token with {"username": …, "password": …}, or its single sign-on.
    """
    from leadcast.local import session, stack

    with session.plain_errors():
        typer.echo(stack.log_in(session.home_here(), user=user).token)


@app.command()
def send(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="JSON body of send-batch; - reads standard input.")],
    url: Url = "",
    token: Token = "",
    user: User = "user",
    idempotency_key: Annotated[str, typer.Option(help="The same key sends the same body once.")] = "",
    wait: Wait = False,
) -> None:
    """Send a lead: POST the file, byte for byte, to /api/integrations/send-batch."""
    from leadcast.local import session
    from leadcast.local.batches import await_batch

    with session.plain_errors():
        api = session.connect(url, token=token, user=user)
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = api.call("POST", "/api/integrations/send-batch", data=file.read(), headers=headers)
        if not wait:
            typer.echo(f"{answer['batch_id']}  {answer['status']}  see: leadcast batch {answer['batch_id']}")
            return
        _show_batch(await_batch(api, answer["batch_id"]))


@app.command()
def batch(batch_id: str, url: Url = "", token: Token = "", user: User = "viewer", wait: Wait = False) -> None:
    """Show a batch and its deliveries."""
    from leadcast.local import session
    from leadcast.local.batches import await_batch, read_batch

    with session.plain_errors():
        api = session.connect(url, token=token, user=user)
        _show_batch(await_batch(api, batch_id) if wait else read_batch(api, batch_id))


def _show_batch(body: dict[str, object]) -> None:
    from rich.console import Console

    from leadcast.local import show

    Console().print(show.batch(body))
    if body["status"] in ("failed", "partial", "cancelled"):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def sandbox(host: str = "127.0.0.1", base_port: int = 8090) -> None:
    """Run the stand-ins of amoCRM, Bitrix24, Telegram, a webhook receiver and a mail server until interrupted."""
    from leadcast.sandbox import SandboxPorts, run

    run(host=host, ports=SandboxPorts.from_base(base_port))


@app.command()
def init() -> None:
    """Make what Leadcast needs: the store's tables, Airflow's pools. Again is harmless."""
    from leadcast.local import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.init import initialise

        for line in initialise():
            typer.echo(line)


@app.command()
def doctor() -> None:
    """Look for what is misconfigured, and say the mend. Exit code 1 when something does not work."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from leadcast.local import session, show

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.doctor import examine

        findings = examine()
        table = Table("", "finding", "mend", header_style="bold")
        for finding in findings:
            table.add_row(show.coloured(str(finding.level)), escape(finding.what), escape(finding.mend))
        Console().print(table)
        if any(str(finding.level) == "fail" for finding in findings):
            raise typer.Exit(EXIT_FAILED)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def airflow(context: typer.Context) -> None:
    """Run Airflow's own command line against the local stack: leadcast airflow dags list."""
    from leadcast.local import session, stack

    with session.plain_errors():
        env = stack.environment(session.home_here(), inherited=os.environ)
        done = subprocess.run([sys.executable, "-m", "airflow", *context.args], env=env, check=False)  # noqa: S603
        raise typer.Exit(done.returncode)
