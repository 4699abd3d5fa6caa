"""`whatsapp-worker dlq`: what could not be sent, and why; send it again, or throw it away."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatsapp_worker.cli import letters, selection
from whatsapp_worker.cli.console import add_command, examples, fail, note, visible
from whatsapp_worker.cli.selection import Selection
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from whatsapp_worker.amqp.dead_letters import Entry

Refuse = Callable[["Entry"], Awaitable[str | None]]

Reason = Annotated[
    list[str] | None,
    typer.Option(parser=selection.reason, help="Only with this reason (may be repeated)."),
]
OlderThan = Annotated[
    float | None,
    typer.Option(parser=selection.age, metavar="AGE", help='Only older ones, like "2h" or "3d".'),
]
NewerThan = Annotated[
    float | None,
    typer.Option(parser=selection.age, metavar="AGE", help='Only newer ones, like "10m".'),
]
Key = Annotated[
    str | None,
    typer.Option(help="Only with this message id or job key (8 or more of its first digits)."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(slots=True)
class Report:
    """What was done with the chosen dead letters.

    Attributes:
        verb: what was to be done with them, in the past tense.
        done: with how many it was done.
        refused: what stays, and why.
    """

    verb: str
    done: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)

    def add(self, entry: "Entry", why_not: str | None) -> None:
        """Remember what became of one."""
        if why_not is None:
            self.done += 1
        else:
            self.refused.append({**letters.summary(entry), "refused": why_not})

    def tell(self, *, dry_run: bool, as_json: bool) -> None:
        """Print what stays and why, and the counts."""
        if as_json:
            whole = {self.verb: self.done, "refused": self.refused, "dry_run": dry_run}
            typer.echo(json.dumps(whole))
            return
        for each in self.refused:
            name = each["message_id"] or each["job_key"] or f"position {each['position']}"
            note(visible(f"{name}: {each['refused']}"), style="yellow")
        would = "would be " if dry_run else ""
        note(f"{self.done} {would}{self.verb}, {len(self.refused)} refused.")


app = typer.Typer(
    help="Look at the dead letters: messages that could not be sent, and why.",
    no_args_is_help=True,
    epilog=examples(
        "whatsapp-worker dlq list",
        "whatsapp-worker dlq replay --reason throttled --newer-than 1d",
    ),
)


def list_(
    reason: Reason = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    key: Key = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first, with the reason of each.  Shows no number and no text."""
    wanted = _selection(reason, older_than, newer_than, key, limit)
    entries = asyncio.run(_find(load_settings(), wanted))
    if as_json:
        typer.echo(json.dumps([letters.summary(entry) for entry in entries]))
    else:
        letters.print_table(entries)


def show(
    reason: Reason = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    key: Key = None,
    limit: Limit = 10,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show numbers and texts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show everything about dead letters; numbers masked and texts hidden unless revealed."""
    wanted = _selection(reason, older_than, newer_than, key, limit)
    entries = asyncio.run(_find(load_settings(), wanted))
    if as_json:
        typer.echo(json.dumps([letters.details(entry, reveal=reveal) for entry in entries]))
        return
    for entry in entries:
        letters.print_details(entry, reveal=reveal)
    if not entries:
        fail("Nothing matches.", 1)


def replay(
    reason: Reason = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    key: Key = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replay even what was sent, says the ledger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the work queue, oldest first; their attempts start again.

    Each is confirmed by RabbitMQ before it leaves the dead-letter queue.  What was sent, says the
    ledger, stays where it is.  Exit 1 if any stayed.
    """
    settings = load_settings()
    wanted = _selection(reason, older_than, newer_than, key, limit)
    refuse = _nothing if force else _unless_sent(settings)
    report = Report("replayed")
    try:
        asyncio.run(_replay(settings, wanted, refuse, report, force=force, dry_run=dry_run))
    finally:  # An outage in the middle: what was replayed is replayed.
        report.tell(dry_run=dry_run, as_json=as_json)
    raise typer.Exit(1 if report.refused else 0)


def drop(
    reason: Reason = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    key: Key = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good, after asking."""
    settings = load_settings()
    wanted = _selection(reason, older_than, newer_than, key, limit)
    report = Report("dropped")
    count = len(asyncio.run(_find(settings, wanted)))
    if dry_run:
        report.done = count
    elif count and not yes:
        _ask(count)
    try:
        if count and not dry_run:  # What has come since then is younger, and stays.
            asyncio.run(_drop(settings, replace(wanted, limit=count), report))
    finally:
        report.tell(dry_run=dry_run, as_json=as_json)


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to be asked: add --yes to delete them")
    typer.confirm(f"Delete {count} dead letters for good?", abort=True, err=True)


def _selection(
    reasons: list[str] | None,
    older_than: float | None,
    newer_than: float | None,
    key: str | None,
    limit: int | None,
) -> Selection:
    return Selection(frozenset(reasons or ()), older_than, newer_than, key, limit)


async def _find(settings: Settings, wanted: Selection) -> "list[Entry]":
    from whatsapp_worker.amqp.dead_letters import DeadLetters

    chosen = wanted.choice()
    async with aclosing(DeadLetters(settings).entries()) as entries:
        return [entry async for entry in entries if chosen(entry)]


async def _drop(settings: Settings, wanted: Selection, report: Report) -> None:
    from whatsapp_worker.amqp.dead_letters import DeadLetters

    async with aclosing(DeadLetters(settings).drop(wanted.choice())) as dropped:
        async for _ in dropped:
            report.done += 1


async def _replay(
    settings: Settings,
    wanted: Selection,
    refuse: Refuse,
    report: Report,
    *,
    force: bool,
    dry_run: bool,
) -> None:
    from whatsapp_worker.amqp.dead_letters import DeadLetters

    if dry_run:
        for entry in await _find(settings, wanted):
            report.add(entry, await refuse(entry))
        return
    queue = DeadLetters(settings)
    async with aclosing(queue.replay(wanted.choice(), refuse, force=force)) as replayed:
        async for each in replayed:
            report.add(each.entry, each.refused)


async def _nothing(_: "Entry") -> None:
    return None


def _unless_sent(settings: Settings) -> Refuse:
    """Refuse what the ledger of this machine says was sent."""
    from whatsapp_worker.store.database import FILE_NAME, sent_keys

    path = settings.whatsapp_session_path / FILE_NAME
    if not os.access(path, os.R_OK):
        note(f"No ledger to be read at {path}: what was sent is left to the daemon to notice.")
        return _nothing

    async def refuse(entry: "Entry") -> str | None:
        if entry.job_key is None:
            return None
        try:
            sent = await asyncio.to_thread(sent_keys, path, [entry.job_key])
        except Misconfigured as error:
            return str(error)
        return "it was sent, says the ledger (--force replays it all the same)" if sent else None

    return refuse


add_command(
    app,
    list_,
    "whatsapp-worker dlq list",
    "whatsapp-worker dlq list --reason invalid_phone --newer-than 1d",
    "whatsapp-worker dlq list --json | jq -r '.[].error_type' | sort | uniq -c",
)
add_command(
    app,
    show,
    "whatsapp-worker dlq show --key 6f1c9a52",
    "whatsapp-worker dlq show --reason malformed --limit 1 --reveal",
)
add_command(
    app,
    replay,
    "whatsapp-worker dlq replay --key 6f1c9a52",
    "whatsapp-worker dlq replay --reason throttled --newer-than 1d --dry-run",
)
add_command(
    app,
    drop,
    "whatsapp-worker dlq drop --older-than 30d --dry-run",
    "whatsapp-worker dlq drop --reason invalid_phone --yes",
)
