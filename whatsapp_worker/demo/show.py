"""The demo: publish, wait until every message has met its fate, show what an operator would see."""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry
from whatsapp_worker.amqp.outbound import publishing
from whatsapp_worker.amqp.removal import remove_topology
from whatsapp_worker.demo.daemon import Daemon, DaemonError
from whatsapp_worker.demo.find import Broker, find_broker
from whatsapp_worker.demo.rabbitmq import BrokerError
from whatsapp_worker.demo.report import Report
from whatsapp_worker.demo.samples import moved, samples
from whatsapp_worker.demo.stories import (
    RETRY_DELAYS,
    SANDBOX_RULES,
    STORIES,
    Fate,
    Observed,
    disappointments,
)
from whatsapp_worker.errors import Unavailable, WorkerError
from whatsapp_worker.settings import Settings, load_settings

FATES_SECONDS = 60.0
"""The slowest story takes its two retries, 3 s; the rest is for a busy machine."""


def run_demo(console: Console | None = None) -> int:
    """Show the main job on a real RabbitMQ; sends nothing to anybody and cleans up.

    Args:
        console: where to print; by default stdout, plain when that is not a terminal.

    Returns:
        The exit code: 0 when every message met its fate, 1 (and a sentence) when not.
    """
    report = Report(console or Console(highlight=False))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Clean up then, too.
    try:
        with find_broker(report.say) as broker, TemporaryDirectory(prefix="whatsapp-demo-") as here:
            report.say(f"Using {broker.origin}.")
            problems = _play(report, _environment(broker, Path(here)), Path(here))
    except (BrokerError, DaemonError, WorkerError) as error:
        problems = [error.detail if isinstance(error, Unavailable) else str(error)]
    report.verdict(problems)
    return 1 if problems else 0


def _play(report: Report, environment: Mapping[str, str], here: Path) -> list[str]:
    settings = load_settings(environment)
    asyncio.run(_knock(settings))
    with _cleaned(settings), Daemon(environment, here / "daemon.log") as daemon:
        report.say("Starting the worker, with a sender that sends nothing ...")
        daemon.wait_until_ready()
        before = samples(daemon.get("/metrics")[1])
        asyncio.run(_publish(settings))
        report.say(
            f"Published {len(STORIES)} messages, each confirmed.  Waiting for their fates ..."
        )
        daemon.wait_for(
            lambda: _all_settled(daemon, before), "every message was settled", FATES_SECONDS
        )
        metrics = moved(before, samples(daemon.get("/metrics")[1]))
        dead = asyncio.run(_dead_letters(settings))
        code = daemon.stop()
        read = _outbox(settings)
    report.published(STORIES)
    report.read(read)
    report.dead(settings.dead_letter_queue, dead)
    report.metrics(metrics)
    reasons = {entry.message_id or "": entry.error_type or "" for entry in dead}
    problems = disappointments(Observed(read, reasons, metrics))
    return problems if code == 0 else [*problems, f"the worker ended with exit code {code}"]


def _environment(broker: Broker, here: Path) -> dict[str, str]:
    """The settings of the demo: names of its own on whatever broker, nothing of the caller's."""
    name = f"demo-{secrets.token_hex(4)}"
    # TLS settings belong to a RABBITMQ_URL, and mean nothing to another broker.
    theirs = os.environ if os.environ.get("RABBITMQ_URL") == broker.url else {}
    return {
        **{key: value for key, value in theirs.items() if key.startswith("RABBITMQ_")},
        "RABBITMQ_URL": broker.url,
        "WHATSAPP_QUEUE_NAME": f"{name}.queue",
        "WHATSAPP_EXCHANGE": f"{name}.notifications",
        "WHATSAPP_DLX": f"{name}.dlx",
        "WHATSAPP_SENDER": "sandbox",
        "WHATSAPP_SESSION_PATH": str(here / "session"),
        "WHATSAPP_SEND_INTERVAL": "0",
        "RETRY_DELAYS": RETRY_DELAYS,
        "SANDBOX_RULES": SANDBOX_RULES,
        "SANDBOX_OUTBOX": str(here / "outbox.jsonl"),
        "ENV": "production",
    }


@contextmanager
def _cleaned(settings: Settings) -> Iterator[None]:
    """Take back the queues and exchanges afterwards, whatever happened; names are the demo's."""
    try:
        yield
    finally:
        asyncio.run(remove_topology(settings))


async def _knock(settings: Settings) -> None:
    """Fail at once, with the reason, when RabbitMQ does not let us in: the worker would wait."""
    async with publishing(settings):
        pass


async def _publish(settings: Settings) -> None:
    async with publishing(settings) as outbound:
        for story in STORIES:
            await outbound.publish(story.body, message_id=story.name)


def _all_settled(daemon: Daemon, before: Mapping[str, float]) -> bool:
    """Every message is settled, and the gauge of the dead-letter queue knows of its share."""
    metrics = moved(before, samples(daemon.get("/metrics")[1]))
    settled = sum(v for k, v in metrics.items() if k.startswith("worker_jobs_processed_total"))
    dead = sum(v for k, v in metrics.items() if k.startswith("queue_dlq_size"))
    return settled >= len(STORIES) and dead >= sum(each.fate is Fate.DEAD for each in STORIES)


async def _dead_letters(settings: Settings) -> list[Entry]:
    return [entry async for entry in DeadLetters(settings).entries()]


def _outbox(settings: Settings) -> list[tuple[str, str]]:
    outbox = settings.sandbox_outbox
    lines = outbox.read_text().splitlines() if outbox and outbox.exists() else []
    return [(sent["destination"], sent["text"]) for sent in map(json.loads, lines)]
