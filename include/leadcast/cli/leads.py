"""Commands that send leads, and look at batches, retry and cancel them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from leadcast.cli.root import EXIT_FAILED, app

Url = Annotated[str, typer.Option(envvar="LEADCAST_URL", help="Airflow's api-server. Default: the local stack.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Holds an Airflow token; - reads standard input. Default: LEADCAST_TOKEN, else of the local stack.",
    ),
]
User = Annotated[str, typer.Option(help="User of the local stack: admin, user or viewer.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the batch has ended and show its deliveries.")]


@app.command()
def send(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="JSON body of send-batch; - reads standard input.")],
    url: Url = "",
    token_file: TokenFile = None,
    user: User = "user",
    idempotency_key: Annotated[str, typer.Option(help="The same key sends the same body once.")] = "",
    wait: Wait = False,
) -> None:
    """Send a lead: POST the file, byte for byte, to /api/integrations/send-batch. Without an answer it is sent
    again, and accepted once."""
    from leadcast.cli import session
    from leadcast.client.batches import await_batch, send_batch

    with session.plain_errors():
        session.refuse_wrong_settings()
        session.refuse_two_readers(getattr(file, "name", "-"), token_file)
        api = session.connect(url, token=session.given_token(token_file), user=user)
        answer = send_batch(api, file.read(), idempotency_key=idempotency_key)
        if not wait:
            typer.echo(f"{answer['batch_id']}  {answer['status']}  see: leadcast batch {answer['batch_id']}")
            return
        _show_batch(await_batch(api, answer["batch_id"]))


@app.command()
def batch(batch_id: str, url: Url = "", token_file: TokenFile = None, user: User = "user", wait: Wait = False) -> None:
    """Show a batch and its deliveries."""
    from leadcast.cli import session
    from leadcast.client.batches import await_batch, read_batch

    with session.plain_errors():
        api = session.connect(url, token=session.given_token(token_file), user=user)
        _show_batch(await_batch(api, batch_id) if wait else read_batch(api, batch_id))


@app.command()
def retry(batch_id: str, url: Url = "", token_file: TokenFile = None, user: User = "user", wait: Wait = False) -> None:
    """Send what has failed of a batch, or is unknown, again; never what was delivered."""
    from leadcast.cli import session
    from leadcast.client.batches import await_batch, retry_batch

    with session.plain_errors():
        typed = f"leadcast retry {shlex.quote(batch_id)}"
        with session.changing(typed, url=url, token_file=token_file, user=user) as api:
            answer = retry_batch(api, batch_id)
        if not wait:
            typer.echo(f"{batch_id}  {answer['status']}  see: leadcast batch {batch_id}")
            return
        _show_batch(await_batch(api, batch_id))


@app.command()
def cancel(batch_id: str, url: Url = "", token_file: TokenFile = None, user: User = "user") -> None:
    """Cancel what of a batch is not being sent yet."""
    from leadcast.cli import session
    from leadcast.client.batches import cancel_batch
    from leadcast.core.model import BatchStatus

    with session.plain_errors():
        typed = f"leadcast cancel {shlex.quote(batch_id)}"
        with session.changing(typed, url=url, token_file=token_file, user=user) as api:
            answer = cancel_batch(api, batch_id)
        is_over = BatchStatus(answer["status"]).is_final
        typer.echo(f"{batch_id}  {answer['status']}{'' if is_over else '  what is just being sent goes to its end'}")


def _show_batch(body: dict[str, object]) -> None:
    from rich.console import Console

    from leadcast.cli import show

    Console().print(show.batch(body))
    if body["status"] in ("failed", "partial", "cancelled"):
        raise typer.Exit(EXIT_FAILED)
