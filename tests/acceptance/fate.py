"""What became of jobs, as four witnesses tell it: log, recipient, dead-letter queue and ledger."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.acceptance.rig import LinkedDaemon, Rig
from tests.integration.campaign import dead_letters, nothing_waits
from tests.integration.messages import Planned
from tests.integration.reckoning import ledger
from tests.support.amqp import connect
from tests.support.eventually import eventually
from tests.whatsapp_server.people import Contact
from tests.whatsapp_server.rulebook import Rule
from whatsapp_worker.masking import mask

RETRY_DELAYS = "1s,2s"
"""What `run_daemon` sets."""

FINAL = {"sent", "dead_letter", "reject"}
"""Outcomes after which a job is not heard of again."""

SOON = 60.0
"""Seconds: far more than two retries take, but other tests want the processors too."""

AFTER_SILENCE = 150.0
"""Seconds: the library waits 75 s for an answer (measured)."""


@dataclass(frozen=True, slots=True)
class Job:
    """A message to a person, as it was or will be published."""

    to: Contact
    planned: Planned


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a job.

    Attributes:
        log: the outcome of each of its deliveries with the reason, in order: "retry network".
        read: how often its recipient reads it.
        letter: the reason that its dead letter gives, None if there is none.
        state: of its row in the ledger.
        unknown: how often a send of it ended without an answer, as that row has it.
    """

    log: tuple[str, ...]
    read: int
    letter: str | None = None
    state: str = "SENT"
    unknown: int = 0


SENT_ONCE = Fate(("sent",), read=1)


def dead(reason: str) -> Fate:
    """Dead-lettered at the first try, and read by nobody."""
    return Fate((f"dead_letter {reason}",), read=0, letter=reason, state="DEAD")


def retried(reason: str) -> Fate:
    """Surely not sent, tried again, and sent."""
    return Fate((f"retry {reason}", "sent"), read=1)


def resent(read: int) -> Fate:
    """Sent once more, since nobody knew whether the first send had come through."""
    return Fate(("retry unknown_outcome", "sent"), read, unknown=1)


def job(rig: Rig, to: Contact | None = None) -> Job:
    """A message to publish, to somebody who was never written to unless told otherwise."""
    to = to or rig.contact()
    return Job(to, rig.envelope(to))


async def publish(rig: Rig, *jobs: Job) -> None:
    """Publish in order; returns when RabbitMQ has confirmed all."""
    await rig.publish(*(each.planned for each in jobs))


async def applied(rule: Rule) -> None:
    """Return when a rule has had its effect."""
    await eventually(lambda: rule.applied, f"{rule.situation} happened", SOON)


async def fates(
    rig: Rig, jobs: Sequence[Job], *daemons: LinkedDaemon, within: float = SOON
) -> list[Fate]:
    """Wait until nothing more can become of these jobs, and say what did, in their order.

    Args:
        rig: where they were published.
        jobs: which ones.
        daemons: that handled them, one after the other.
        within: seconds.
    """

    def settled() -> bool:
        for each in jobs:
            assert FINAL & {line.split()[0] for line in _log(each, daemons)}, _log(each, daemons)
        return True

    await eventually(settled, "all jobs are settled", within)
    async with connect(rig.amqp_url) as client:
        await nothing_waits(client, daemons[-1].directory, RETRY_DELAYS)
    letters = {e.message_id: e.error_type for e in await dead_letters(rig.amqp_url, rig.kept)}
    kept = ledger(daemons[-1].directory)
    return [
        Fate(
            _log(each, daemons),
            Counter(each.to.texts)[each.planned.text],
            letters.get(each.planned.message_id),
            *kept.jobs[each.planned.ledger_key(kept.secret)][:2],
        )
        for each in jobs
    ]


def lines(one: Job, *daemons: LinkedDaemon) -> list[dict[str, Any]]:
    """The log lines of a job's deliveries."""
    name = mask(one.planned.message_id)  # Some ids look like a telephone number in part.
    told = (line for daemon in daemons for line in daemon.log())
    return [line for line in told if (line.get("event"), line.get("message_id")) == ("job", name)]


def _log(one: Job, daemons: Sequence[LinkedDaemon]) -> tuple[str, ...]:
    told = [(line["outcome"], line.get("error_type")) for line in lines(one, *daemons)]
    return tuple(" ".join(filter(None, pair)) for pair in told)
