"""Which dead letters a command is about."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from whatsapp_worker.errors import ErrorType
from whatsapp_worker.settings.values import read_seconds

if TYPE_CHECKING:
    from whatsapp_worker.amqp.dead_letters import Entry

UNKNOWN = "unknown"
SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """What a dead letter has to match; what is None or empty does not matter.

    Attributes:
        reasons: one of these error types; "unknown" is a letter nobody gave a reason.
        older_than, newer_than: seconds since it became a dead letter.
        key: its message id, or its job key (or the beginning of it).
        limit: take this many at most, the oldest first.
    """

    reasons: frozenset[str] = frozenset()
    older_than: float | None = None
    newer_than: float | None = None
    key: str | None = None
    limit: int | None = None

    def matches(self, entry: "Entry", now: datetime) -> bool:
        """Whether an entry is meant, the limit aside."""
        if self.reasons and (entry.error_type or UNKNOWN) not in self.reasons:
            return False
        if self.key is not None and self.key != entry.message_id:
            known = entry.job_key or ""
            if len(self.key) < SHORTEST_KEY or not known.startswith(self.key):
                return False
        age = _age(entry.failed_at, now)
        return (self.older_than is None or (age is not None and age > self.older_than)) and (
            self.newer_than is None or (age is not None and age < self.newer_than)
        )

    def choice(self) -> Callable[["Entry"], bool]:
        """A fresh function that says of one entry after the other whether it is meant."""
        now, taken = datetime.now(UTC), 0

        def chosen(entry: "Entry") -> bool:
            nonlocal taken
            if (self.limit is not None and taken >= self.limit) or not self.matches(entry, now):
                return False
            taken += 1
            return True

        return chosen


def _age(failed_at: str | None, now: datetime) -> float | None:
    try:
        moment = datetime.fromisoformat(failed_at or "")
    except ValueError:
        return None
    return (now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds()


def reason(text: str) -> str:
    """Check the name of a reason, as an option's parser."""
    known = [*ErrorType, UNKNOWN]
    if text not in known:
        raise typer.BadParameter(f"is none of {', '.join(known)}")
    return text


def age(text: str) -> float:
    """Read a duration, as an option's parser."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    try:
        return read_seconds(f"{number}h") * 24 if unit in {"d", "D"} else read_seconds(text)
    except ValueError:
        raise typer.BadParameter('must be like "90s", "10m", "2h" or "3d"') from None
