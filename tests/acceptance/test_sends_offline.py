"""Jobs that are published while WhatsApp is away: they wait, untried, and go out in order."""

import pytest

from tests.acceptance.fate import SENT_ONCE, Fate, Job, applied, fates, job, lines, publish, retried
from tests.acceptance.rig import LinkedDaemon, Rig
from tests.integration.reckoning import ledger
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.eventually import eventually
from tests.whatsapp_server.people import Contact
from tests.whatsapp_server.rules import OnQuery, Query, Silence
from whatsapp_worker.whatsapp.states import WhatsAppState

AFTER_OUTAGE = 90.0
"""Seconds: the library's own pauses grow, and after 30 s the worker takes over (DESIGN 7)."""

S = WhatsAppState

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


async def test_jobs_wait_untried_for_a_phone_a_reconnect_a_restart_and_a_new_phone(
    rig: Rig,
) -> None:
    known = rig.contact(devices=2)

    def batch() -> list[Job]:
        """To somebody new, whose keys and address are not known yet, and to somebody known."""
        return [job(rig, known), job(rig), job(rig, known)]

    unpaired, cut_off, cold, unlinked = batch(), batch(), batch(), batch()
    async with rig.daemon() as first:
        await first.is_in(S.PAIRING)
        await _wait_untried(rig, first, unpaired)
        await first.pair()
        assert await fates(rig, unpaired, first) == [SENT_ONCE] * 3

        rig.server.go_away()
        await first.is_in(S.RECONNECTING)
        await _wait_untried(rig, first, cut_off)
        rig.server.come_back()
        assert await fates(rig, cut_off, first, within=AFTER_OUTAGE) == [SENT_ONCE] * 3

        rig.server.go_away()
        assert await first.stop() == 0
    async with rig.daemon() as second:  # It has the addresses, and nobody's list of devices.
        await second.is_in(S.STARTING)
        await _wait_untried(rig, second, cold)
        rig.server.come_back()
        assert await fates(rig, cold, second, within=AFTER_OUTAGE) == [SENT_ONCE] * 3

        await rig.server.unlink(rig.owner)
        await second.is_in(S.PAIRING)  # After it was logged out.
        await _wait_untried(rig, second, unlinked)
        await second.pair()
        assert await fates(rig, unlinked, second) == [SENT_ONCE] * 3

    published = [*unpaired, *cut_off, *cold, *unlinked]
    assert _read_in_order({each.to for each in published}) == [
        each.planned.text for each in published
    ]


async def test_an_outage_in_the_middle_of_a_lookup_leaves_no_doubt(rig: Rig) -> None:
    await _cut_off_in(rig, Query.USYNC, retried("network"))


async def test_an_outage_between_keys_and_message_costs_no_attempt(rig: Rig) -> None:
    await _cut_off_in(rig, Query.PREKEYS, SENT_ONCE)


async def _cut_off_in(rig: Rig, query: Query, expected: Fate) -> None:
    """Take WhatsApp away while a question about the recipient waits for its answer."""
    one = job(rig)
    async with rig.online() as daemon:
        asked = rig.server.rules.add(OnQuery(query, Silence()), times=1)
        await publish(rig, one)
        await applied(asked)
        rig.server.go_away()
        await daemon.is_in(S.RECONNECTING)
        await _given_up(one, daemon)
        rig.server.come_back()
        assert await fates(rig, [one], daemon, within=AFTER_OUTAGE) == [expected]


async def _given_up(one: Job, daemon: LinkedDaemon) -> None:
    """Return when the library waits no longer: 5 s after the connection was lost (measured)."""

    def over() -> bool:
        kept = ledger(daemon.directory)
        state, _, _ = kept.jobs[one.planned.ledger_key(kept.secret)]
        return state != "SENDING"

    await eventually(over, "the send has ended", AFTER_OUTAGE)


async def _wait_untried(rig: Rig, daemon: LinkedDaemon, jobs: list[Job]) -> None:
    """Publish, and see that the first one is taken and none is tried."""
    await publish(rig, *jobs)
    async with connect(rig.amqp_url) as client:

        async def one_is_held() -> bool:
            return await client.count(WORK_QUEUE) == len(jobs) - 1

        await eventually(one_is_held, "one is held")
    kept = ledger(daemon.directory)
    for each in jobs:
        assert kept.jobs.get(each.planned.ledger_key(kept.secret)) in {None, ("NEW", 0, False)}
        assert lines(each, daemon) == []
        assert each.planned.text not in each.to.texts


def _read_in_order(contacts: set[Contact]) -> list[str | None]:
    """What these people read on their phones, in the order in which it came."""
    letters = [letter for each in contacts for letter in each.inbox if letter.device == 0]
    return [letter.text for letter in sorted(letters, key=lambda letter: letter.at)]
