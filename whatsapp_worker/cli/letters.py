"""How dead letters are shown: without numbers and texts, unless they are to be revealed."""

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatsapp_worker.cli.console import visible
from whatsapp_worker.masking import mask

if TYPE_CHECKING:
    from whatsapp_worker.amqp.dead_letters import Entry

PIPE_WIDTH = 4000
CELL_WIDTH = 255
"""Characters in a cell of the table, two columns wide at most: a row stays a line in a pipe."""
HIDDEN = "hidden, --reveal shows it"
FACTS = (
    "position",
    "message_id",
    "job_key",
    "error_type",
    "error_detail",
    "failed_at",
    "first_seen",
    "attempts",
    "unknown_count",
    "origin_queue",
    "content_type",
    "size",
)


def summary(entry: "Entry", *, reveal: bool = False) -> dict[str, Any]:
    """All that is known of a dead letter except its contents; numbers masked unless revealed.

    Publishers choose the message id and may make it of a number, and any header may hold one.
    """
    facts = {fact: getattr(entry, fact) for fact in FACTS}
    if reveal:
        return facts
    return {fact: mask(value) if isinstance(value, str) else value for fact, value in facts.items()}


def details(entry: "Entry", *, reveal: bool) -> dict[str, Any]:
    """All of a dead letter; the destination masked and the text hidden unless revealed."""
    body = entry.body.decode(errors="backslashreplace")
    contents = {"body": body} if reveal else _discreet(entry.body)
    return {**summary(entry, reveal=reveal), **contents}


def print_table(entries: "list[Entry]") -> None:
    """Print one line for each."""
    table = Table("#", "Failed at", "Reason", "Tries", "Key", "Message id", "Why", box=None)
    for facts in map(summary, entries):
        cells = (
            facts["position"],
            facts["failed_at"] or "unknown",
            facts["error_type"] or "unknown",
            facts["attempts"],
            (facts["job_key"] or "-")[:12],
            facts["message_id"] or "-",
            facts["error_detail"] or "",
        )
        table.add_row(*(Text(_cut(visible(str(cell)))) for cell in cells))
    # A pipe has no width to fit into: lines stay whole there, so that grep sees all of them.
    console = Console()
    (console if console.is_terminal else Console(width=PIPE_WIDTH)).print(table)


def print_details(entry: "Entry", *, reveal: bool) -> None:
    """Print everything about one."""
    table = Table(box=None, show_header=False)
    for name, value in details(entry, reveal=reveal).items():
        table.add_row(Text(name, "bold"), Text(visible("-" if value is None else str(value))))
    Console(soft_wrap=True).print(table, "")


def _discreet(body: bytes) -> dict[str, Any]:
    """What may be told of a body: whose it is, to which country, how long."""
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        return {"body": f"no JSON object ({HIDDEN})"}
    text, destination = envelope.get("text_message"), envelope.get("destination")
    length = f"{len(text)} characters" if isinstance(text, str) else "missing"
    return {
        "user_id": _short(envelope.get("user_id")),
        "destination": _masked(destination) if isinstance(destination, str) else "missing",
        "text_message": f"{length} ({HIDDEN})",
    }


def _cut(text: str) -> str:
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 3]}..."


def _short(user_id: object) -> str:
    """Whose it is; what is no UUID may be a number or a text."""
    try:
        return str(UUID(user_id)) if isinstance(user_id, str) else "no UUID"
    except ValueError:
        return "no UUID"


def _masked(destination: str) -> str:
    return f"{destination[:3]}...{destination[-2:]}" if len(destination) > 8 else "..."
