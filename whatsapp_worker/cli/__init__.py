"""The command line: `app`, put together from one module for each group of commands."""

from typing import Annotated

import typer

from whatsapp_worker import __version__
from whatsapp_worker.cli import check, config, daemon, dlq, send, status
from whatsapp_worker.cli.console import Commands, examples, leave

__all__ = ["app", "leave"]

EXIT_CODES = "\n".join(
    [
        "[bold]Exit codes[/]",
        "  0  fine",
        "  1  the answer is no: unhealthy, problems found, some messages failed",
        "  2  wrong usage",
        " 69  RabbitMQ, or the daemon, can not be reached",
        " 70  a bug in whatsapp-worker",
        " 75  try again later: another process holds the session, or it took too long",
        " 77  not paired, or not permitted",
        " 78  wrong settings",
        "130  interrupted",
    ]
)

app = typer.Typer(
    cls=Commands,
    help="Sends the WhatsApp messages that services publish to RabbitMQ, and settles every one.\n\n"
    "Settings come from the environment or from .env; see them with `whatsapp-worker config show`.",
    epilog=examples(
        "whatsapp-worker demo                     # see it work, without WhatsApp",
        "whatsapp-worker config check && whatsapp-worker check",
        "whatsapp-worker pair                     # link a phone",
        "whatsapp-worker run",
        after=EXIT_CODES,
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # They would print local variables: texts, passwords.
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whatsapp-worker {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


daemon.add_to(app)
send.add_to(app)
status.add_to(app)
check.add_to(app)
app.add_typer(dlq.app, name="dlq")
app.add_typer(config.app, name="config")
