"""The kinds of values a setting may have, and how people write them."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, get_args

from pydantic import BeforeValidator


class Environment(StrEnum):
    """Where the worker runs; decides the format and the default level of its logs."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Topology(StrEnum):
    """Whether the exchange and the work queue are ours to create (DESIGN 4)."""

    DECLARE = "declare"
    VERIFY = "verify"


class OnUnknown(StrEnum):
    """What becomes of a message that perhaps was sent (DESIGN 5)."""

    RESEND = "resend"
    PARK = "park"


class SenderKind(StrEnum):
    """Who sends: WhatsApp, or a sender that only pretends."""

    NEONIZE = "neonize"
    SANDBOX = "sandbox"


class QrMode(StrEnum):
    """Where the pairing QR code is drawn."""

    AUTO = "auto"
    STDOUT = "stdout"
    OFF = "off"


class LogLevel(StrEnum):
    """The least severe log lines to write."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Failpoint(StrEnum):
    """A crash window of DESIGN 6, by what is done when it begins; see failpoints.py."""

    DELIVERED = "delivered"
    """Claimed, before SENDING is committed."""
    SENDING = "sending"
    """SENDING is committed, and nothing has left yet."""
    TAKEN = "taken"
    """WhatsApp took it, before SENT is committed."""
    SENT = "sent"
    """SENT is committed, before the ack."""
    ACKED = "acked"
    """The ack of a message that was sent is written."""
    FAILING = "failing"
    """The send has failed, before FAILED is committed."""
    FAILED = "failed"
    """FAILED is committed, before a copy is published."""
    COPIED = "copied"
    """The retry copy is confirmed, before RETRY is committed."""
    RETRIED = "retried"
    """RETRY is committed, before the ack."""
    DEAD_LETTERED = "dead_lettered"
    """The dead letter is confirmed, before DEAD is committed."""
    DEAD = "dead"
    """DEAD is committed, before the ack."""
    REJECTING = "rejecting"
    """No job can be made of it, before it is rejected."""
    REJECTED = "rejected"
    """It is rejected."""


def choices(annotation: object) -> tuple[StrEnum, ...]:
    """Return the values of a setting that is one of few, or unset; nothing for other kinds."""
    kinds = (annotation, *get_args(annotation))
    enums = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum))
    return tuple(next(enums, ()))


UNITS = {"h": 3600_000, "m": 60_000, "s": 1_000, "ms": 1}  # Milliseconds, the largest first.
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h)?", re.IGNORECASE | re.ASCII)


def read_seconds(text: str) -> float:
    """Read "90s", "2m", "1h", "250ms" or a plain number of seconds.

    Raises:
        ValueError: the text is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError('must be seconds, or text like "90s", "2m" or "1h"')
    return float(match[1]) * UNITS[(match[2] or "s").lower()] / 1000


def write_seconds(seconds: float) -> str:
    """Write seconds with the largest unit that divides them: 120 is "2m", 90 is "90s"."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit, size in UNITS.items() if milliseconds % size == 0)
    return f"{milliseconds // UNITS[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the retry ladder.

    Attributes:
        label: the last part of its queue's name.  It follows from the delay, so that a changed
            delay makes a new queue instead of a clash with the old one's arguments.
        seconds: how long a message waits there, in whole milliseconds.
    """

    label: str
    seconds: float


SHORTEST, LONGEST, MOST_RUNGS = 0.01, 24 * 3600.0, 10


def read_ladder(text: str) -> tuple[Rung, ...]:
    """Read "5s,30s,2m" as the rungs of the retry ladder.

    Raises:
        ValueError: not 1 to 10 durations, each longer than the one before, from 10 ms to a day.
    """
    delays = [round(read_seconds(part), 3) for part in text.split(",")]
    if len(delays) > MOST_RUNGS:
        raise ValueError(f"must have at most {MOST_RUNGS} delays")
    if min(delays) < SHORTEST or max(delays) > LONGEST:
        raise ValueError("each delay must be from 10ms to 24h")
    if any(later <= earlier for earlier, later in itertools.pairwise(delays)):
        raise ValueError("each delay must be longer than the one before it")
    return tuple(Rung(write_seconds(delay), delay) for delay in delays)


def _if_text(read: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda given: read(given) if isinstance(given, str) else given)


Seconds = Annotated[float, _if_text(read_seconds)]
Ladder = Annotated[tuple[Rung, ...], _if_text(read_ladder)]
