"""The arithmetic after a campaign: the publisher's record against what became of it."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.integration.messages import Planned
from whatsapp_worker.amqp.dead_letters import Entry

Letter = tuple[bytes, str]
"""Body and reason of a dead letter."""


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """What a ledger holds: for each key its state and count of doubts, and the secret."""

    jobs: Mapping[str, tuple[str, int, bool]]
    secret: bytes

    @property
    def doubtful(self) -> set[str]:
        """Keys of the jobs of which a send ended without an answer."""
        return {key for key, (_, unknown, _) in self.jobs.items() if unknown}


def ledger(directory: Path) -> LedgerFile:
    """Read the ledger of the worker that ran in `directory`; the worker may be running."""
    with _reading(directory) as file:
        jobs = file.execute("SELECT key, state, unknown_count, keyless FROM jobs").fetchall()
        ((secret,),) = file.execute("SELECT value FROM secret")
    states = {key.hex(): (state, unknown, bool(keyless)) for key, state, unknown, keyless in jobs}
    return LedgerFile(states, secret)


def ledger_rows(directory: Path) -> list[tuple[object, ...]]:
    """Read all that a ledger, see `ledger`, holds of its jobs; raises sqlite3.Error."""
    with _reading(directory) as file:
        return file.execute("SELECT * FROM jobs").fetchall()


def _reading(directory: Path) -> closing[sqlite3.Connection]:
    path = directory / "session" / "ledger.db"
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What became of a campaign.

    Attributes:
        lost: texts of confirmed jobs that were neither sent nor dead-lettered, as often.
        surplus: texts sent more often than there are jobs with them.
        letters_missing: bodies and reasons of confirmed jobs that should lie in the dead-letter
            queue, and do not.
        letters_wrong: bodies and reasons in the dead-letter queue that should not be there.
        letters_twice: those that lie there more often than they should.
        parked: bodies that lie there because nobody knows whether they were sent.
        sent, dead, duplicates: how many jobs were sent and dead-lettered, and how many confirmed
            messages beyond the first belong to the same job.
    """

    lost: Counter[str]
    surplus: Counter[str]
    letters_missing: Counter[Letter]
    letters_wrong: Counter[Letter]
    letters_twice: Counter[Letter]
    parked: frozenset[bytes]
    sent: int
    dead: int
    duplicates: int

    def nothing_lost(self) -> bool:
        """Whether L is 0 and every dead letter is right; says what not."""
        assert (self.lost, self.letters_missing, self.letters_wrong) == (Counter(),) * 3
        return True

    def never_twice(self) -> bool:
        """Whether D is 0 and no send was in doubt; says what not."""
        assert (self.surplus, self.parked) == (Counter(), frozenset())
        return True

    def exact(self) -> bool:
        """Whether everything confirmed has had its one right fate; says what not."""
        assert self.letters_twice == Counter()
        return self.nothing_lost() and self.never_twice()

    def excused(self, possible: Iterable[Planned], kept: LedgerFile) -> bool:
        """Whether each surplus belongs to a job of which a send was in doubt; says which not."""
        assert self.unexplained(possible, kept) == Counter()
        return True

    def unexplained(self, possible: Iterable[Planned], kept: LedgerFile) -> Counter[str]:
        """D: the surplus of jobs of which no send was in doubt.

        Of keyless jobs nothing tells which row is whose, so as many are excused as are in doubt.
        """
        named = {each.text: each.ledger_key(kept.secret) for each in possible if each.key}
        doubts = len(kept.doubtful - set(named.values()))
        found: Counter[str] = Counter()
        for text, times in self.surplus.items():
            if text in named:
                excused = times if named[text] in kept.doubtful else 0
            else:
                excused = min(times, doubts)
                doubts -= excused
            found[text] = times - excused
        return +found


def reckon(
    confirmed: Iterable[Planned],
    sent: Iterable[str],
    letters: Iterable[Entry],
    unknown: Iterable[Planned] = (),
) -> Reckoning:
    """Set the publisher's record against outbox and dead-letter queue.

    Args:
        confirmed: must have had its fate, exactly once per job.
        sent: texts in the outbox.
        letters: the dead-letter queue.
        unknown: may have had its fate or not.
    """
    confirmed = list(confirmed)
    jobs = {each.job: each for each in confirmed}
    possible = {each.job: each for each in unknown} | jobs
    texts = Counter(sent)
    lying = Counter((entry.body, entry.error_type or "") for entry in letters)
    parked = {body for body, reason in lying if reason == "unknown_outcome"}
    rightly = Counter((each.body, each.reason) for each in possible.values() if each.reason)
    rightly += Counter((each.body, "unknown_outcome") for each in possible.values() if each.text)
    too_many = lying - rightly
    surely = [each for each in jobs.values() if each.body not in parked]
    return Reckoning(
        lost=Counter(each.text for each in surely if each.sendable) - texts,
        surplus=texts - Counter(each.text for each in possible.values() if each.sendable),
        letters_missing=Counter((each.body, each.reason) for each in surely if each.reason) - lying,
        letters_wrong=Counter({each: n for each, n in too_many.items() if each not in rightly}),
        letters_twice=Counter({each: n for each, n in too_many.items() if each in rightly}),
        parked=frozenset(parked),
        sent=texts.total(),
        dead=lying.total(),
        duplicates=len(confirmed) - len(jobs),
    )
