"""`whatsapp-worker check`: would a daemon with these settings find what it needs?"""

import asyncio
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from whatsapp_worker.cli.console import add_command, note, visible
from whatsapp_worker.settings import load_settings

if TYPE_CHECKING:
    from whatsapp_worker.amqp.checkup import Finding


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    add_command(
        app,
        check,
        "whatsapp-worker check",
        "whatsapp-worker check --json | jq '.[] | select(.ok | not)'",
    )


def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check connection, exchange and queues; say what is wrong and how to fix it.

    Exit 0 if all is well, 1 if something has to be fixed, 69 if RabbitMQ can not be reached.
    """
    from whatsapp_worker.amqp.checkup import checkup

    settings = load_settings()
    findings = asyncio.run(checkup(settings))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            _print(finding)
        for warning in settings.warnings:
            note(f"warning: {warning}", style="yellow")
    if not findings[0].ok:  # The connection comes first: without it there is nothing else.
        raise typer.Exit(os.EX_UNAVAILABLE)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _print(finding: "Finding") -> None:
    word = Text("ok     ", "green") if finding.ok else Text("WRONG  ", "red")
    lines = [word.append(visible(f"{finding.subject}: {finding.detail}"), "default")]
    if finding.fix is not None:
        lines.append(Text(visible(f"       fix: {finding.fix}")))
    Console(soft_wrap=True).print(*lines, sep="\n")
