"""Commands of the local stack: start and end it, look at it, run Airflow's own commands against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadcast.cli.root import EXIT_FAILED, EXIT_NOT_RUNNING, EXIT_SLOW, app

if TYPE_CHECKING:
    from leadcast.local.home import Home
    from leadcast.local.ports import Ports
    from leadcast.local.progress import Progress
    from leadcast.local.wait import Watch

_SLOW_TIMEOUTS_S = (15.0, 40.0)
"""How long a stack that was slow to answer is waited for when it is asked again."""

User = Annotated[str, typer.Option(help="User of the local stack: admin, user or viewer.")]


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Then store lead 123 and send it to all five.")] = False,
) -> None:
    """Start the local stack: PostgreSQL, Airflow, the sandbox services."""
    from rich.console import Console

    from leadcast.cli import session
    from leadcast.cli.stack import show
    from leadcast.local import here, stack
    from leadcast.local.progress import Progress
    from leadcast.local.wait import watch_of

    console = Console()
    with session.plain_errors():
        session.refuse_wrong_settings()
        home = here.home()
        console.print(f"Leadcast's local stack in {home.root}", highlight=False, soft_wrap=True)
        progress, watch = Progress(console), watch_of(home, os.environ)
        if not stack.up(home, progress=progress, inherited=os.environ):
            console.print("It runs already. Settings that you have changed count after: leadcast down", highlight=False)
        now = stack.await_health(home, progress=progress, watch=watch)
        console.print(show.programs(now))
        for hint in now.hints:
            console.print(f"! {hint}", style="yellow", markup=False, highlight=False)
        if demo:
            _demo(home, now.ports, progress=progress, watch=watch)
        show.addresses(now.ports, home, console, has_lead_123=demo)


def _demo(home: Home, ports: Ports, *, progress: Progress, watch: Watch) -> None:
    from leadcast.cli import show
    from leadcast.local.demo import send_demo_lead

    console = progress.console
    console.print("Lead 123 goes to all five integrations:", highlight=False)
    body = send_demo_lead(home, ports, progress=progress, watch=watch)
    console.print(show.batch(body))
    if body["status"] != "completed":
        console.print(f"[red]✗[/] The batch is {body['status']}, not completed. See: leadcast doctor", highlight=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def down() -> None:
    """End every process of the local stack. What it has stored stays."""
    from rich.console import Console

    from leadcast.cli import session
    from leadcast.local import here, stack
    from leadcast.local.progress import Progress

    console = Console()
    with session.plain_errors():
        home = here.home()
        ended = stack.down(home, progress=Progress(console))
        console.print("Ended." if ended else f"No stack runs in {home.root}.", highlight=False)


@app.command()
def status() -> None:
    """Show the local stack's programs and addresses.

    Exit code 3 when it does not run, 1 when it is unwell, 4 when it lives and is too slow to say how it is.
    """
    from rich.console import Console

    from leadcast.cli import session
    from leadcast.cli.stack import show
    from leadcast.local import here, stack

    console = Console()
    with session.plain_errors():
        home = here.home()
        now = stack.status(home)
        for timeout_s in _SLOW_TIMEOUTS_S:
            if now.is_slow:
                console.print("It is slow to answer; asking again…", style="yellow", highlight=False)
                now = stack.status(home, timeout_s=timeout_s)
        if not now.is_running:
            left = f" Of one that was killed, {now.orphans} processes are left: leadcast down" if now.orphans else ""
            console.print(f"No stack runs in {home.root}. Start one: leadcast up.{left}", highlight=False)
            raise typer.Exit(EXIT_NOT_RUNNING)
        console.print(show.programs(now))
        for hint in now.hints:
            console.print(f"✗ {hint}", style="red", markup=False, highlight=False)
        show.addresses(now.ports, home, console)
        if now.is_slow and now.is_alive:
            console.print("It runs, and is too slow to say how it is. Ask again later.", style="yellow")
            raise typer.Exit(EXIT_SLOW)
        if not now.is_healthy:
            raise typer.Exit(EXIT_FAILED)


@app.command()
def token(user: User = "admin") -> None:
    """Print an Airflow token for the local stack.

    For another Airflow, ask its own: POST /auth/token with {"username": …, "password": …}, or its single sign-on.
    """
    from leadcast.cli import session
    from leadcast.local import here

    with session.plain_errors():
        typer.echo(here.log_in(user).token)


@app.command()
def sandbox(
    host: str = "127.0.0.1",
    base_port: int = 8090,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Where the token of the control service is. Default: what LEADCAST_SANDBOX_TOKEN holds."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A host name under which others call it. May be repeated.")
    ] = None,
) -> None:
    """Run the stand-ins of amoCRM, Bitrix24, Telegram, a webhook receiver and a mail server until interrupted."""
    from leadcast.sandbox import SandboxPorts, run
    from leadcast.sandbox.control_token import VARIABLE, TokenError, checked, read

    try:
        if token_file is not None:
            token: str | None = read(token_file)
        else:
            token = checked(given, source=VARIABLE) if (given := os.environ.pop(VARIABLE, "")) else None
    except TokenError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_FAILED) from None
    run(host=host, ports=SandboxPorts.from_base(base_port), token=token, names=allow_host or ())


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def airflow(context: typer.Context) -> None:
    """Run Airflow's own command line against the local stack: leadcast airflow dags list."""
    from leadcast.cli import session
    from leadcast.local import here, stack

    with session.plain_errors():
        env = stack.environment(here.home(), inherited=os.environ)
        command = [sys.executable, "-m", "airflow", *context.args]
        done = subprocess.run(command, env=env, check=False)  # noqa: S603 - as its user has typed it
        raise typer.Exit(done.returncode)
