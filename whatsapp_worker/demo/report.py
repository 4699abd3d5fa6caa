"""How the demo tells what happened: tables on a terminal, aligned plain text elsewhere."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatsapp_worker.amqp.dead_letters import Entry
from whatsapp_worker.demo.stories import Story, destination_of, text_of

PLAIN_WIDTH = 120
"""Columns when nobody's terminal says: wide enough for every row."""


class Report:
    """Prints the demo's findings.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        if not console.is_terminal:
            console.width = PLAIN_WIDTH

    def say(self, text: str) -> None:
        """Tell what is going on."""
        self._console.print(text, markup=False, soft_wrap=True)

    def published(self, stories: Sequence[Story]) -> None:
        """What was put into RabbitMQ, and what has to become of it."""
        rows = [(each.name, destination_of(each), text_of(each), each.fate) for each in stories]
        self._table("What was published", ("message", "to", "text", "what becomes of it"), rows)

    def read(self, messages: Sequence[tuple[str, str]]) -> None:
        """What a recipient would have read."""
        self._table("What recipients read", ("to", "text"), messages)

    def dead(self, queue: str, entries: Sequence[Entry]) -> None:
        """What lies in the dead-letter queue and why."""
        rows = [
            (each.message_id or "", each.error_type or "", each.error_detail or "")
            for each in entries
        ]
        self._table(f"What lies in {queue}, and why", ("message", "reason", "detail"), rows)

    def metrics(self, moved: Mapping[str, float]) -> None:
        """Which metrics moved, and by how much."""
        rows = [(f"{value:+g}", name) for name, value in moved.items()]
        self._table("Which metrics moved", ("by", "sample"), rows)

    def verdict(self, problems: Sequence[str]) -> None:
        """How it ended."""
        self.say("")
        if not problems:
            self._console.print(
                "Every message met its fate, the worker stopped cleanly, nothing is left behind.",
                style="green",
            )
        for problem in problems:
            self._console.print(
                f"The demo failed: {problem}", style="red", markup=False, soft_wrap=True
            )

    def _table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        # Text takes words as they are: square brackets of a message are no markup.
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(Text(f"\n{title}", style="bold"))
        self._console.print(table)
