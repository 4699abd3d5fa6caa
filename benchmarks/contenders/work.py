"""What every peer does with a message: the same steps as the worker's, as a user would write them.

Where there is a cheaper and a dearer way, it takes the cheaper one (children of metrics bound, a
log line that needs no formatter), so that what is measured is the peer.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import phonenumbers
from prometheus_client import CollectorRegistry, Counter, Histogram

from benchmarks.contenders.contract import Metered, Task
from whatsapp_worker.content import ContentPolicy, check_text

log = logging.getLogger("benchmarks.job")

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was checked."""

    user: UUID
    text: str
    destination: str


def check(fields: Fields) -> Message:
    """Check what was decoded; raises ValueError, WorkerError or NumberParseException."""
    user, text, destination = UUID(fields["user_id"]), fields["text_message"], fields["destination"]
    check_text(text, ContentPolicy.STANDARD)
    if not phonenumbers.is_valid_number(phonenumbers.parse(destination)):
        raise ValueError("not a number in use")
    return Message(user, text, destination)


class Work:
    """The steps, and what they need.

    Args:
        task: where the log goes.
        meter: told of the send.
    """

    def __init__(self, task: Task, meter: Metered) -> None:
        log_to(task.log)
        self._meter = meter
        registry = CollectorRegistry()
        jobs = Counter("jobs_processed", "Jobs.", ["worker", "status"], registry=registry)
        seconds = Histogram("job_duration_seconds", "Time.", ["worker"], registry=registry)
        self._sent, self._seconds = jobs.labels("peer", "success"), seconds.labels("peer")

    async def decode(self, body: bytes) -> None:
        """Do everything for a message that nobody decoded."""
        await self.do(json.loads(body))

    async def do(self, fields: Fields) -> None:
        """Do everything for a message."""
        began = perf_counter()
        message = check(fields)
        await self.send(message)
        seconds = perf_counter() - began
        self._sent.inc()
        self._seconds.observe(seconds)
        log.info(
            '{"event": "job", "outcome": "sent", "user_id": "%s", "recipient": "%s***%s", '
            '"seconds": %.6f}',
            message.user,
            message.destination[:3],
            message.destination[-2:],
            seconds,
        )

    async def send(self, message: Message) -> None:
        """Send nothing."""
        self._meter.sending(message.text)


def log_to(path: Path) -> None:
    """Write what `log` is told to a file, a line at a time, and nothing else there."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
