"""The commands around the daemon itself: `run`, `pair`, `demo`, `healthcheck`."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from whatsapp_worker.cli.console import add_command
from whatsapp_worker.settings import LogLevel, SenderKind, Settings, load_settings, rules


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    add_command(
        app,
        run,
        "whatsapp-worker run",
        "RABBITMQ_URL=amqp://user:password@rabbitmq/vhost whatsapp-worker run",
        "WHATSAPP_SENDER=sandbox whatsapp-worker run   # sends nothing to anybody",
    )
    add_command(
        app,
        pair,
        "whatsapp-worker pair                          # scan a QR code",
        "whatsapp-worker pair --phone +5511999999999   # type a code instead",
    )
    add_command(app, demo, "whatsapp-worker demo")
    add_command(app, healthcheck, "whatsapp-worker healthcheck || echo not alive")


def run() -> None:
    """Run the daemon until it is told to stop (SIGTERM or Ctrl-C).

    It takes messages from the work queue, sends them, and serves /healthz and /metrics.
    """
    settings = load_settings()
    if settings.whatsapp_sender is SenderKind.NEONIZE:
        _execute_with_environment(settings)
    from whatsapp_worker.process import run_daemon

    raise typer.Exit(run_daemon(settings))


def _execute_with_environment(settings: Settings) -> None:
    """Start this process over if the environment lacks what can only be set before it starts."""
    from whatsapp_worker.whatsapp.environment import required_environment

    required = required_environment(settings)
    if all(os.environ.get(name) == value for name, value in required.items()):
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **required})  # noqa: S606  Ourselves.


def _phone(number: str) -> str:
    try:
        return rules.phone(number)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def pair(
    phone: Annotated[
        str | None,
        typer.Option(
            parser=_phone, metavar="NUMBER", help="Pair by a code typed on this phone (+5511...)."
        ),
    ] = None,
) -> None:
    """Link a phone: draw a QR code to scan, or get a code to type.

    Works beside a running daemon, and without one.  Exit 75 if nobody scanned in time, 77 if
    WhatsApp refuses.
    """
    settings = load_settings()
    _execute_with_environment(settings)
    from whatsapp_worker import logs
    from whatsapp_worker.whatsapp.pairing_client import pair as link

    out = logs.protect_stdout()  # The library prints into whatever is drawn there.
    quiet = settings.model_copy(update={"log_level": LogLevel.ERROR, "log_to_file": False})
    with logs.configure(quiet, stream=sys.stderr):
        code = asyncio.run(link(settings, phone=phone, out=out))
    raise typer.Exit(code)


def demo() -> None:
    """Show the whole job on a real RabbitMQ, with a sender that sends nothing to anybody.

    Uses RABBITMQ_URL, a RabbitMQ on this machine, or starts one; cleans up after itself.
    """
    from whatsapp_worker.demo import run_demo

    raise typer.Exit(run_demo())


def healthcheck() -> None:
    """Ask the daemon whether it is alive (GET /livez): exit 0, or 1 and one line that says why.

    For the container runtime; asks HTTP_HOST and HTTP_PORT of the environment.
    """
    from whatsapp_worker.healthcheck import main

    raise typer.Exit(main())
