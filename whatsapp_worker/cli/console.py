"""What all commands share: how they print, how they fail, how their help gives examples.

Data goes to stdout, notes for people to stderr.  Colours only on a terminal, and not with NO_COLOR
(rich sees to both).
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from inspect import getdoc
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup
from typer.exceptions import TyperException

from whatsapp_worker.errors import Misconfigured, Unavailable, WorkerError
from whatsapp_worker.session_directory import Held


def add_command(
    app: typer.Typer, command: Callable[..., None], *lines: str, after: str = ""
) -> None:
    """Add a command: its name and help come from the function, the examples are given here.

    Args:
        app: what to add it to.
        command: the function; its paragraphs are filled anew for the reader's terminal.
        lines: example command lines, each with a comment or without.
        after: what else to say below the examples.
    """
    paragraphs = (getdoc(command) or "").split("\n\n")
    text = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    name = command.__name__.rstrip("_")  # `list_` may not hide Python's own.
    app.command(name, help=text, epilog=examples(*lines, after=after))(command)


def examples(*lines: str, after: str = "") -> str:
    """Example command lines as the last part of a help page."""
    commands = "\n".join(["[bold]Examples[/]", *(f"$ {escape(line)}" for line in lines)])
    return f"{commands}\n\n{after}" if after else commands


def note(text: str, style: str | None = None) -> None:
    """Tell a person something, on stderr; the text is printed as it is."""
    Console(stderr=True, highlight=False).print(text, style=style, markup=False, soft_wrap=True)


def fail(text: str, code: int) -> NoReturn:
    """Say why it does not go on, and end with an exit code."""
    note(text, style="red")
    raise typer.Exit(code)


def leave(end: SystemExit) -> NoReturn:
    """End the process even if threads remain: neonize's would keep it for ever (measured)."""
    threads = [each for each in threading.enumerate() if each is not threading.main_thread()]
    if any(not thread.daemon for thread in threads):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    raise end


def visible(text: str) -> str:
    """Text of others with its control characters shown, so that it can not steer the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class Commands(TyperGroup):
    """The top of the command line: turns what went wrong into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except WorkerError as error:
            fail(error.detail if isinstance(error, Unavailable) else str(error), _code(error))
        except (TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception:  # noqa: BLE001  The last resort: a bug ends with a code of its own.
            traceback.print_exc()
            fail("This is a bug in whatsapp-worker: please report the lines above.", os.EX_SOFTWARE)


def _code(error: WorkerError) -> int:
    match error:
        case Misconfigured():
            return os.EX_CONFIG
        case Unavailable():
            return os.EX_UNAVAILABLE
        case Held():
            return os.EX_TEMPFAIL
        case _:
            return 1
