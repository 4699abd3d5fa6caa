"""The daemon and WhatsApp fail while messages are under way, and the arithmetic afterwards.

L, what was confirmed and neither sent nor dead-lettered, is 0 throughout.  D, what was sent twice
although no send of it was ever in doubt, is 0 throughout.
"""

import asyncio
import os
from signal import SIGTERM

import pytest

from tests.integration.campaign import (
    KINDS,
    prepare,
    sent,
    texts_of,
)
from tests.integration.fault_campaign import (
    Campaign,
    Start,
    all_ready,
    is_zero,
    long_pause,
    mid_send,
    paused,
    redelivered,
)
from tests.integration.messages import Planned
from tests.integration.reckoning import ledger
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.eventually import eventually

REDELIVERED = "worker_deliveries_redelivered_total"
PAUSED = 'worker_paused{reason="whatsapp"}'

pytestmark = pytest.mark.timeout(120)


# The daemon ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_unknown", "kind", "kills"), [("resend", "quorum", 6), ("park", "classic", 4)]
)
async def test_a_daemon_that_is_killed_loses_nothing_and_doubles_only_what_was_in_doubt(
    on_unknown: str, kind: str, kills: int, campaign: Start
) -> None:
    run = campaign(ON_UNKNOWN=on_unknown, MAX_ATTEMPTS="20")
    await prepare(run.url, kind)
    run.rules.set(latency=0.01)
    random = run.planner.random
    async with run.daemon() as daemon:
        await daemon.ready()  # The exchange leads to the queue.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_publish_keyed(run, 400))
        for _ in range(kills):
            async with run.daemon() as daemon:
                await sent(daemon, len(texts_of(daemon)) + random.randint(1, 40))
                await asyncio.sleep(random.random() * 0.02)  # Any moment: the point of this test.
                daemon.kill()
    run.rules.set()
    async with run.daemon() as daemon:
        await daemon.ready()
        result = await run.finish(daemon)
    kept = ledger(run.directory)
    assert result.nothing_lost()
    assert result.excused(run.publisher.confirmed, kept)
    assert result.surplus.total() <= kills
    assert len(kept.doubtful) <= kills
    if on_unknown == "park":
        assert result.surplus.total() == 0
        assert len(result.parked) == len(kept.doubtful)


async def _publish_keyed(run: Campaign, size: int) -> None:
    """Publish messages that are named, so that a second send can be traced to its row."""
    planner = run.planner
    planned: list[Planned] = []
    for number in range(size):
        planned.append(planner.failing(1) if number % 10 == 9 else planner.good())
        if number % 20 == 5:
            planned += [planner.keyless(), planner.invalid("half a JSON object")]
    run.rules.add(planner.rules)
    await run.publisher.publish(planned)


@KINDS
async def test_sigterm_in_mid_send_finishes_that_send_and_gives_the_rest_back(
    kind: str, campaign: Start
) -> None:
    run = campaign(WHATSAPP_PREFETCH_COUNT="3")
    await prepare(run.url, kind)
    run.rules.set(latency=0.7)
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good() for _ in range(6)])
        await mid_send(run)
        before = len(texts_of(daemon))
        assert await daemon.stop() == 0
        assert len(texts_of(daemon)) == before + 1
    assert {state for state, _, _ in ledger(run.directory).jobs.values()} == {"SENT"}
    async with connect(run.url) as client:
        assert await client.count(WORK_QUEUE) == 6 - before - 1
    run.rules.set()
    async with run.daemon() as daemon:
        await daemon.ready()
        result = await run.finish(daemon)
        assert await daemon.metric(REDELIVERED) in {0, *range(4)}
    assert result.exact()
    assert texts_of(daemon) == [each.text for each in run.publisher.confirmed]


async def test_a_second_sigterm_ends_at_once(campaign: Start) -> None:
    run = campaign()
    run.rules.set(latency=60)
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good()])
        await mid_send(run)
        daemon.signal(SIGTERM)
        await daemon.says("stopping")
        assert await daemon.status("/readyz", 503)
        assert await daemon.status("/livez", 200)
        daemon.signal(SIGTERM)
        assert await daemon.exit_code(3) == 128 + SIGTERM
    assert texts_of(daemon) == []


@pytest.mark.parametrize(("on_unknown", "hangs"), [("resend", 2), ("park", 1)])
async def test_a_send_that_hangs_ends_the_process_and_is_in_doubt_afterwards(
    on_unknown: str, hangs: int, campaign: Start
) -> None:
    run = campaign(ON_UNKNOWN=on_unknown, SEND_TIMEOUT="1s")
    run.rules.add({"+15550107777": {"hang": True}})
    stuck = run.planner.good(destination="+15550107777")
    for number in range(hangs):
        async with run.daemon() as daemon:
            if not number:
                await daemon.ready()
                await run.publisher.publish([stuck])
            assert await daemon.exit_code(30) == os.EX_TEMPFAIL
    assert "a send does not end" in daemon.printed
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good()])
        result = await run.finish(daemon)
    assert result.nothing_lost()
    assert result.parked == {stuck.body}
    assert texts_of(daemon) == [run.publisher.confirmed[1].text]
    kept = ledger(run.directory)
    assert kept.jobs[stuck.ledger_key(kept.secret)] == ("DEAD", hangs, False)


# WhatsApp -----------------------------------------------------------------------------------------


async def test_a_short_outage_of_whatsapp_gives_nothing_back(campaign: Start) -> None:
    run = campaign(WHATSAPP_PREFETCH_COUNT="3")
    async with run.daemon() as daemon:
        await daemon.ready()
        for flap in (1, 2):
            run.rules.set(offline=True)
            await paused(daemon, flap)
            await run.publish(40)
            assert await daemon.status("/readyz", 200)
            await eventually(lambda: daemon.metric(PAUSED), "a pause in the metrics")
            run.rules.set()
            await eventually(lambda: is_zero(daemon, PAUSED), "no pause in the metrics")
        result = await run.finish(daemon)
        assert "given back" not in daemon.printed
    assert result.exact()
    assert redelivered(daemon) == 0


@KINDS
async def test_each_long_outage_of_whatsapp_gives_what_is_held_back_once(
    kind: str, campaign: Start
) -> None:
    flaps, prefetch = 3, 3
    run = campaign(WHATSAPP_PREFETCH_COUNT=str(prefetch), PAUSE_HOLD="300ms")
    await prepare(run.url, kind)
    async with run.daemon() as daemon, connect(run.url) as client:
        await daemon.ready()
        for flap in range(flaps):
            run.rules.set(offline=True)
            await paused(daemon, flap + 1)
            waiting = [run.planner.good() for _ in range(10)]
            await run.publisher.publish(waiting)
            await long_pause(daemon, flap + 1)
            await eventually(lambda: all_ready(client, 10), "all lie in the queue again")
            run.rules.set()
            await sent(daemon, 10 * (flap + 1))
        result = await run.finish(daemon)
    assert result.exact()
    assert result.dead == 0
    assert 1 <= redelivered(daemon) <= flaps * prefetch
    assert texts_of(daemon) == [each.text for each in run.publisher.confirmed]
