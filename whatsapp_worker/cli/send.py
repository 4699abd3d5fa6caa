"""`whatsapp-worker send`: publish messages for the daemon to send, each confirmed by RabbitMQ."""

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import Progress

from whatsapp_worker.cli.console import add_command, note
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import Rules, decode
from whatsapp_worker.errors import Invalid
from whatsapp_worker.settings import Settings, load_settings

JSON = "application/json"
Messages = Iterator[tuple[int, bytes]]
"""What is to be published, each with the number of its line."""


@dataclass(slots=True)
class Report:
    """How it went.

    Attributes:
        message_ids: of what RabbitMQ has confirmed, in order.
        accepted: how many a dry run would publish.
        failed: line number and reason of each message that was not published.
    """

    message_ids: list[str] = field(default_factory=list)
    accepted: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)

    def fail(self, line: int, reason: str) -> None:
        """Remember that a message was not published, and say so at once."""
        self.failed.append((line, reason))
        note(f"line {line}: {reason}", style="red")

    def tell(self, *, dry_run: bool, as_json: bool) -> None:
        """Print the ids (or everything as JSON) on stdout, and the counts on stderr."""
        published = len(self.message_ids)
        done = f"{self.accepted} fit to be published" if dry_run else f"{published} published"
        note(f"{done}, {len(self.failed)} failed.")
        if not as_json:
            typer.echo("".join(f"{message_id}\n" for message_id in self.message_ids), nl=False)
            return
        whole = {
            "accepted": self.accepted if dry_run else published,
            "published": published,
            "failed": len(self.failed),
            "message_ids": self.message_ids,
            "errors": [{"line": line, "error": reason} for line, reason in self.failed],
        }
        typer.echo(json.dumps(whole))


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    add_command(
        app,
        send,
        'whatsapp-worker send --to +5511999999999 --text "Your order is on its way"',
        "date | whatsapp-worker send --to +5511999999999 --text -",
        "whatsapp-worker send --file messages.jsonl --dry-run   # only check them",
        "whatsapp-worker send --file messages.jsonl --json > report.json",
        "zcat messages.jsonl.gz | whatsapp-worker send --file -",
        after="A line of a file is one envelope:\n"
        '{"user_id": "<uuid>", "text_message": "Hello", "destination": "+5511999999999"}',
    )


def send(
    to: Annotated[str | None, typer.Option(help="Recipient: + and 8 to 15 digits.")] = None,
    text: Annotated[str | None, typer.Option(help="Message; - reads it from stdin.")] = None,
    user_id: Annotated[
        str | None, typer.Option(help="Whose message it is (UUID); a random one if left out.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Messages of a user with the same key are sent once.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="Many messages, one JSON envelope a line; - reads stdin.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Check each message first, as the daemon will.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Publish nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish one message, or many from a file, for the daemon to send.

    Prints the message id of each one that RabbitMQ has confirmed.  Exit 1 if any could not be
    published, 69 if RabbitMQ can not be reached.
    """
    single = (to, text, user_id, idempotency_key)
    if file is not None and any(option is not None for option in single):
        raise typer.BadParameter("--file goes without --to, --text, --user-id, --idempotency-key")
    settings = load_settings()
    lines, total = ([_envelope(*single)], 1) if file is None else _read(file)
    report = Report()
    lines = _watched(lines, total)
    messages = _checked(lines, settings, report) if check else _numbered(lines)
    try:
        if dry_run:
            report.accepted = sum(1 for _ in messages)
        else:
            asyncio.run(_publish(settings, messages, report))
    finally:  # An outage in the middle: what was published is published.
        report.tell(dry_run=dry_run, as_json=as_json)
    raise typer.Exit(1 if report.failed else 0)


def _envelope(
    to: str | None, text: str | None, user_id: str | None, idempotency_key: str | None
) -> bytes:
    if to is None or text is None:
        raise typer.BadParameter("give --to and --text for one message, or --file for many")
    if text == "-":
        text = sys.stdin.read().removesuffix("\n")
    fields = {"user_id": user_id or str(uuid4()), "text_message": text, "destination": to}
    if idempotency_key is not None:
        fields["idempotency_key"] = idempotency_key
    return json.dumps(fields).encode()


def _read(file: str) -> tuple[Iterable[bytes], int | None]:
    """The lines of a file, and how many there are if that is known."""
    if file == "-":
        return sys.stdin.buffer, None
    path = Path(file)
    try:
        with path.open("rb") as lines:
            return _each_line(path), sum(1 for _ in lines)
    except OSError as error:
        raise typer.BadParameter(f"{path} can not be read: {error.strerror}") from error


def _each_line(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from lines


def _numbered(lines: Iterable[bytes]) -> Messages:
    for number, line in enumerate(lines, start=1):
        if body := line.strip():
            yield number, body


def _checked(lines: Iterable[bytes], settings: Settings, report: Report) -> Messages:
    """Only what the daemon would accept; the rest has failed."""
    rules = Rules(settings.max_message_bytes, settings.phone_check, settings.content_policy)
    for number, body in _numbered(lines):
        try:
            decode(Delivery(body, content_type=JSON), rules)
        except Invalid as error:
            report.fail(number, str(error))
        else:
            yield number, body


def _watched(lines: Iterable[bytes], total: int | None) -> Iterator[bytes]:
    """The same lines, with a progress bar if they are many and a person is watching."""
    console = Console(stderr=True)
    with Progress(console=console, disable=total == 1 or not console.is_terminal) as progress:
        yield from progress.track(lines, total, description="Messages")


async def _publish(settings: Settings, messages: Messages, report: Report) -> None:
    """Publish them one after the other.

    Raises:
        Misconfigured: nobody takes them, or RabbitMQ refuses us.
        Unavailable: RabbitMQ can not be reached, or is lost on the way.
    """
    from whatsapp_worker.amqp.outbound import publishing

    async with publishing(settings) as outbound:
        # Reading may wait for whoever writes to our stdin; the connection needs its heartbeats.
        while (message := await asyncio.to_thread(next, messages, None)) is not None:
            message_id = str(uuid4())
            await outbound.publish(message[1], message_id)
            report.message_ids.append(message_id)
