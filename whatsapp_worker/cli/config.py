"""`whatsapp-worker config`: which settings are in force, where they come from, what is wrong."""

import json
import os
from itertools import groupby
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatsapp_worker.cli.console import add_command, examples, note, visible
from whatsapp_worker.settings import load_settings
from whatsapp_worker.settings.describe import Description, descriptions, written
from whatsapp_worker.settings.sources import DOTENV, gather, settings_from

app = typer.Typer(
    help="Show or check the settings.",
    no_args_is_help=True,
    epilog=examples("whatsapp-worker config show", "whatsapp-worker config check"),
)


def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting, its value (secrets as stars) and where it comes from.

    It comes from the environment, from .env, from a file (named by NAME_FILE), or is the default.
    Exit 78 if a setting is wrong.
    """
    gathered = gather(os.environ, DOTENV)
    settings = settings_from(gathered)
    rows = [
        (each, written(getattr(settings, each.field)), gathered.origins.get(each.field, "default"))
        for each in descriptions()
    ]
    if as_json:
        shown = {each.name: {"value": value, "source": source} for each, value, source in rows}
        typer.echo(json.dumps(shown, indent=2))
    else:
        Console(soft_wrap=True).print(_table(rows))


def _table(rows: list[tuple[Description, str, str]]) -> Table:
    table = Table("Name", "Value", "Comes from", box=None, header_style="bold")
    for group, settings in groupby(rows, key=lambda row: row[0].group):
        table.add_row(Text(f"\n{group}", "bold"))
        for each, value, source in settings:
            style = "" if source == "default" else "green"
            table.add_row(each.name, Text(visible(value), style), Text(source, style))
    return table


def check() -> None:
    """Check the settings: one line for each that is wrong (exit 78), and for what looks odd."""
    settings = load_settings()
    for warning in settings.warnings:
        note(f"warning: {warning}", style="yellow")
    note("The settings are fine.")


add_command(
    app,
    show,
    "whatsapp-worker config show",
    "whatsapp-worker config show --json | jq .RABBITMQ_HOST.value",
)
add_command(app, check, "whatsapp-worker config check && whatsapp-worker run")
