"""Campaigns through WhatsApp while everything goes wrong, and the arithmetic afterwards.

Everybody reads what was confirmed for them: once, or twice where the ledger says that a send was in
doubt, or it lies in the dead-letter queue with a reason.  Nobody reads anything else.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from signal import SIGKILL
from time import monotonic

import pytest

from tests.acceptance.faults import Doses, Storm
from tests.acceptance.inboxes import Verdict, judge
from tests.acceptance.rig import FIGURES, LinkedDaemon, Rig
from tests.integration.campaign import dead_letters, nothing_waits, seeded
from tests.integration.messages import Planned
from tests.integration.reckoning import ledger
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.eventually import eventually
from tests.whatsapp_server.people import Contact
from tests.whatsapp_server.rules import AckError, OnMessage
from whatsapp_worker.whatsapp.states import WhatsAppState

SETTINGS = {
    "RETRY_DELAYS": "200ms,400ms",
    "MAX_ATTEMPTS": "6",
}

ALWAYS = 10**6
"""Counted rules are asked in order, so one that is counted and never used up stays the first."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a campaign is.

    Attributes:
        messages: published; as many as can be divided by the number of people.
        people: how many of them read; every fourth has two devices.
        within: seconds until everything must have had its fate.
        doses: what goes wrong.
    """

    messages: int
    people: int
    within: float
    doses: Doses


SMALL = Size(
    200, 20, 60, Doses(resets=1, closes=1, kills=1, cut_before=1, cut_after=1, late=2, errors=1)
)
LARGE = Size(
    2000,
    200,
    400,
    Doses(resets=10, closes=5, kills=6, cut_before=6, cut_after=6, late=10, lost=1, errors=5),
)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="small", marks=pytest.mark.timeout(120)),
        pytest.param(LARGE, id="large", marks=[pytest.mark.timeout(600), pytest.mark.long]),
    ],
)
async def test_what_was_confirmed_is_read_once_or_was_in_doubt_or_lies_with_the_dead_letters(
    size: Size, rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    def record(figures: dict[str, object]) -> None:
        record_property(FIGURES, {name: str(value) for name, value in figures.items()})

    campaign = Campaign(rig, size, seeded())
    begun = monotonic()
    try:
        await campaign.run()
        verdict = await campaign.verdict()
        figures = verdict.figures() | {"anomalies at WhatsApp": len(rig.server.anomalies)}
    finally:
        record(campaign.figures() | {"seconds": round(monotonic() - begun, 1)})
    record(figures)
    assert verdict.holds()
    assert campaign.supervisor.codes.count(-SIGKILL) == size.doses.kills
    assert len(verdict.kept.doubtful) <= size.doses.doubts


@dataclass(slots=True)
class Supervisor:
    """Starts the daemon again whenever it ends before its time, as Kubernetes does.

    Attributes:
        rig: where it runs.
        codes: how the daemons before the present one ended.
        outcomes: what they logged of each delivery, counted.
    """

    rig: Rig
    codes: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    _daemon: LinkedDaemon | None = None

    @property
    def daemon(self) -> LinkedDaemon:
        """The present one; it may have ended."""
        assert self._daemon is not None
        return self._daemon

    async def run(self) -> None:
        """Link it once, and keep it running until it ends as it should."""
        while not self.codes or self.codes[-1] != os.EX_OK:
            start = self.rig.daemon if self.codes else self.rig.online
            async with start(**SETTINGS) as self._daemon:
                code = await self.daemon.exit_code(LARGE.within)
            assert code in {os.EX_OK, -SIGKILL}, self.daemon.printed[-2000:]
            paired = WhatsAppState.PAIRING in self.daemon.visited()
            assert paired == (not self.codes), "a code was shown after a restart"
            self.codes.append(code)
            self.outcomes.update(line["outcome"] for line in self.daemon.log() if "outcome" in line)

    async def online(self) -> None:
        """Return when the first daemon is there for publishers."""
        await eventually(lambda: self._daemon, "the daemon is linked", 60)
        await self.daemon.ready()


@dataclass(slots=True)
class Campaign:
    """Messages, people who read them, faults, and a daemon in between.

    Attributes:
        rig: the surroundings.
        size: how large it is.
        random: decides who gets what, and when what goes wrong.
    """

    rig: Rig
    size: Size
    random: Random
    supervisor: Supervisor = field(init=False)
    readers: list[Contact] = field(init=False)
    others: list[Contact] = field(init=False)
    planned: list[Planned] = field(init=False)
    storm: Storm = field(init=False)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.rig)
        self.readers = [
            self.rig.contact(devices=1 + (number % 4 == 0)) for number in range(self.size.people)
        ]
        stranger = self.rig.contact(registered=False)
        self.others = [stranger, self.rig.contact(), self.rig.contact()]
        each = self.size.messages // self.size.people
        readable = [self.rig.envelope(reader) for reader in self.readers for _ in range(each)]
        self.planned = [*readable, *self._unreadable()]
        self.random.shuffle(self.planned)
        self.storm = Storm(self.rig.server, self._arrived, lambda: self.supervisor.daemon.kill())

    async def run(self) -> None:
        """Publish, let things go wrong, and wait until every message has had its fate."""
        faults = self.size.doses.faults(self.random)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.supervisor.run())
            await self.supervisor.online()
            storm = tasks.create_task(self.storm.rage(faults, self._letters, self.random))
            await self.rig.publish(*self.planned)
            await storm
            await self._finish()

    async def verdict(self) -> Verdict:
        """Judge what happened, by the inboxes of everybody."""
        inboxes = {person.number: person.texts for person in [*self.readers, *self.others]}
        letters = await dead_letters(self.rig.amqp_url, self.rig.kept)
        return judge(self.planned, inboxes, letters, ledger(self.rig.directory))

    def figures(self) -> dict[str, object]:
        """What went wrong, and what the daemon said of it."""
        supervisor = self.supervisor
        return {
            "faults": dict(self.storm.struck),
            "daemon exits": dict(Counter(supervisor.codes)),
            "logged outcomes": dict(supervisor.outcomes),
        }

    async def _finish(self) -> None:
        async def begun() -> bool:
            assert len(ledger(self.rig.directory).jobs) == len(self.planned)
            return True

        await eventually(begun, "all jobs are begun", self.size.within)
        async with connect(self.rig.amqp_url) as client:
            await nothing_waits(client, self.rig.directory, SETTINGS["RETRY_DELAYS"], 60)
            assert await self.supervisor.daemon.stop() == os.EX_OK
            assert await client.count(WORK_QUEUE) == 0

    @property
    def _letters(self) -> int:
        """How many letters there are to be, of which each device of a reader gets one."""
        each = self.size.messages // self.size.people
        return sum(each * len(reader.parties) for reader in self.readers)

    def _arrived(self) -> int:
        return sum(len(reader.inbox) for reader in self.readers)

    def _unreadable(self) -> list[Planned]:
        """Messages that no try can get through, each with the reason it must be given."""
        _, blocked, broken = self.others
        rules = self.rig.server.rules
        rules.add(OnMessage(AckError(400), to=blocked.number), times=ALWAYS)
        rules.add(OnMessage(AckError(503), to=broken.number), times=ALWAYS)
        reasons = ("not_on_whatsapp", "refused", "server_error")
        return [
            replace(self.rig.envelope(person), reason=reason)
            for person, reason in zip(self.others, reasons, strict=True)
            for _ in range(max(2, self.size.messages // 200))
        ]
