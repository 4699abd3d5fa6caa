"""The arithmetic after a campaign through WhatsApp: the publisher's record against the inboxes.

`tests.integration.reckoning` counts what was published, read and dead-lettered.  What only people
with inboxes can tell comes on top: who read a message, and how often.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.integration.messages import Planned
from tests.integration.reckoning import LedgerFile, Reckoning, reckon
from whatsapp_worker.amqp.dead_letters import Entry

TWICE = 2
"""How often a person may read a message: a send in doubt is followed by one more (DESIGN 5)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a campaign.

    Attributes:
        confirmed: what RabbitMQ took, each a job of its own with an AMQP message id.
        inboxes: what each person reads, by number.
        letters: the dead-letter queue.
        kept: the ledger.
    """

    confirmed: Sequence[Planned]
    inboxes: Mapping[str, Sequence[str | None]]
    letters: Sequence[Entry] = field(repr=False)
    kept: LedgerFile = field(repr=False)

    @property
    def reckoning(self) -> Reckoning:
        """Published against read and dead-lettered, whoever read it."""
        return reckon(self.confirmed, self._read.elements(), self.letters)

    @property
    def strays(self) -> Counter[str]:
        """What people read that was published for somebody else, or never."""
        meant = {(number_of(each), each.text) for each in self.confirmed}
        read = Counter((number, text or "") for number, text in self._letters())
        return Counter(
            {text: n for (number, text), n in read.items() if (number, text) not in meant}
        )

    @property
    def too_often(self) -> set[str]:
        """Texts that were read more than twice."""
        return {text for text, times in self._read.items() if times > TWICE}

    @property
    def unreasoned(self) -> set[bytes]:
        """Bodies parked as "perhaps sent" of which the ledger knows no send in doubt."""
        named = {each.body: each.ledger_key(self.kept.secret) for each in self.confirmed}
        return {body for body in self.reckoning.parked if named.get(body) not in self.kept.doubtful}

    def holds(self) -> bool:
        """Whether the promise of DESIGN 1 was kept; says where not."""
        found = self.reckoning
        assert (self.strays, self.too_often) == (Counter(), set())
        assert found.nothing_lost()
        assert found.excused(self.confirmed, self.kept)
        assert self.unreasoned == set()
        return True

    def figures(self) -> dict[str, object]:
        """What a person wants to know of it."""
        often = Counter(self._read[each.text] for each in self.confirmed)
        return {
            "confirmed by RabbitMQ": len(self.confirmed),
            "read once": often[1],
            "read twice": often[TWICE],
            "sends in doubt": sum(unknown for _, unknown, _ in self.kept.jobs.values()),
            "dead-lettered": dict(Counter(entry.error_type or "" for entry in self.letters)),
            "parked and read": len(self.reckoning.parked & self._bodies_read()),
        }

    @property
    def _read(self) -> Counter[str]:
        return Counter(text or "" for _, text in self._letters())

    def _letters(self) -> Iterator[tuple[str, str | None]]:
        return ((number, text) for number, texts in self.inboxes.items() for text in texts)

    def _bodies_read(self) -> set[bytes]:
        read = self._read
        return {each.body for each in self.confirmed if read[each.text]}


def number_of(planned: Planned) -> str:
    """For whom a message is, digits only: read off the envelope, as the worker has to."""
    return "".join(filter(str.isdigit, json.loads(planned.body)["destination"]))


def judge(
    confirmed: Sequence[Planned],
    inboxes: Mapping[str, Iterable[str | None]],
    letters: Sequence[Entry],
    kept: LedgerFile,
) -> Verdict:
    """Take down what is to be judged; arguments as the attributes of `Verdict`."""
    assert all(each.key for each in confirmed), "only what is named can be told apart"
    read = {number: tuple(texts) for number, texts in inboxes.items()}
    return Verdict(tuple(confirmed), read, tuple(letters), kept)
