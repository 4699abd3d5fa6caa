"""WhatsApp wants fewer messages: they come later, or all pause; none is lost or doubled."""

import asyncio
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from tests.acceptance.fate import AFTER_SILENCE, SENT_ONCE, fates, job, publish, retried
from tests.acceptance.rig import LinkedDaemon, Rig
from tests.support.eventually import eventually
from tests.whatsapp_server.rules import AckError, OnMessage, RateLimit
from whatsapp_worker.cli.status import Status, ask
from whatsapp_worker.pacer import FIRST_THROTTLE_PAUSE, THROTTLED_IN_A_ROW
from whatsapp_worker.whatsapp.states import WhatsAppState

MANY = 100
PER_SECOND, TAKEN_PER_SECOND = 20, 15

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


@pytest.mark.timeout(180)
async def test_throttled_in_a_row_pauses_the_account_until_it_goes_on_by_itself(rig: Rig) -> None:
    throttled, waiting = [job(rig) for _ in range(THROTTLED_IN_A_ROW)], job(rig)
    rule = rig.server.rules.add(OnMessage(AckError(429)), times=THROTTLED_IN_A_ROW)
    async with rig.online() as daemon:
        await publish(rig, *throttled, waiting)
        await _paused(daemon, ["throttled"])
        assert rule.applied == THROTTLED_IN_A_ROW
        assert await daemon.status("/readyz", 200)
        assert waiting.to.texts == []
        await _paused(daemon, [], within=FIRST_THROTTLE_PAUSE + 60)
        found = await fates(rig, [*throttled, waiting], daemon)
        assert found == [retried("throttled")] * THROTTLED_IN_A_ROW + [SENT_ONCE]
        assert daemon.printed.count("paused (throttled)") == 1


async def _paused(daemon: LinkedDaemon, reasons: list[str], within: float = 30.0) -> None:
    """Return when `status` and the metrics tell these reasons for a pause, and no others."""

    async def told() -> bool:
        status: Status = await asyncio.to_thread(ask, daemon.process.url)
        assert (status.paused, status.healthy) == (reasons, not reasons)
        assert status.whatsapp == WhatsAppState.ONLINE
        return True

    await eventually(told, f"paused: {reasons}", within)


@pytest.mark.timeout(180)
async def test_all_are_sent_once_though_whatsapp_takes_only_so_many_a_second(rig: Rig) -> None:
    # Of two recipients there are never three in a row, so that it retries and does not pause.
    pair = [rig.contact(), rig.contact()]
    jobs = [job(rig, pair[number % 2]) for number in range(MANY)]
    # A busy machine may send less than WhatsApp takes, so the seconds go by the message here.
    rig.server.rules.clock = partial(next, count(step=1 / PER_SECOND))
    limit = rig.server.rules.add(RateLimit(TAKEN_PER_SECOND, AckError(429)))
    async with rig.online(MAX_ATTEMPTS="30") as daemon:
        await publish(rig, *jobs)
        found = await fates(rig, jobs, daemon, within=AFTER_SILENCE)
        refusals = sum(len(fate.log) - 1 for fate in found)
        assert limit.applied == refusals > MANY // 10
        assert {replace(fate, log=fate.log[-1:]) for fate in found} == {SENT_ONCE}
        assert {line for fate in found for line in fate.log[:-1]} == {"retry throttled"}
