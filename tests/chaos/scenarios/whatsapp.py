"""WhatsApp is away, comes and goes, is slow, hangs, or gives no answer."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from time import monotonic

from tests.chaos.arena import Arena
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import sent, texts_of
from tests.integration.fault_campaign import all_ready, mid_send, paused
from tests.integration.messages import Planned
from tests.integration.reckoning import ledger
from tests.support.amqp import connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually

REDELIVERED = "worker_deliveries_redelivered_total"
IN_DOUBT = "whatsapp_sends_in_doubt_total"
STUCK = "+15550107777"


@scenario(
    "WhatsApp is offline while 10,000 messages wait, for longer than PAUSE_HOLD and for less",
    seconds=100,
    quick=37,
    kinds=(Kind.QUORUM,),
    alone=True,
)
async def whatsapp_offline(arena: Arena) -> None:
    waiting = [arena.planner.good() for _ in range(arena.times(10_000))]
    watched = max(4.0, 15 * arena.scale)
    hold = watched + 3  # Stands for five minutes.
    async with arena.worker(PAUSE_HOLD=f"{hold:.0f}s") as daemon, connect(arena.url) as client:
        arena.rules.set(offline=True)
        await paused(daemon, 1)
        await arena.publish_all(waiting)
        await daemon.says("is given back", within=hold + 30)
        await eventually(lambda: all_ready(client, len(waiting)), "all lie in the queue")
        share = await _cpu_share(daemon, watched)
        arena.measured("CPU while a long outage lasts", share, "% of a core", at_most=2)
        arena.rules.set()
        await sent(daemon, len(waiting) // 3, within=120)
        after_long = await daemon.metric(REDELIVERED)
        arena.measured("redeliveries by the long outage", after_long, at_most=1)
        arena.rules.set(offline=True)
        await paused(daemon, 2)
        share = await _cpu_share(daemon, watched)
        arena.measured("CPU during a short outage", share, "% of a core", at_most=2)
        arena.rules.set()
        await sent(daemon, len(waiting), within=300)
        more = await daemon.metric(REDELIVERED) - after_long
        arena.measured("redeliveries by the short outage", more, at_most=0)
        await arena.finish(daemon)
    in_order = zip(texts_of(daemon), (each.text for each in waiting), strict=False)
    arena.measured("sent out of order", sum(a != b for a, b in in_order), at_most=0)


async def _cpu_share(daemon: RunningDaemon, seconds: float) -> float:
    """Per cent of a core that the daemon uses from now on, for so long."""
    before, begun = _cpu_seconds(daemon), monotonic()
    await asyncio.sleep(seconds)
    return 100 * (_cpu_seconds(daemon) - before) / (monotonic() - begun)


def _cpu_seconds(daemon: RunningDaemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]  # proc(5); counted from the state, which follows the name.
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@scenario(
    "WhatsApp goes offline and comes back 60 times, now and then for longer than PAUSE_HOLD",
    seconds=35,
    quick=9,
)
async def whatsapp_flapping(arena: Arena) -> None:
    flaps = arena.times(60)
    async with arena.worker(PAUSE_HOLD="400ms") as daemon:
        async with arena.load(rate=40):
            for flap in range(flaps):
                arena.rules.set(offline=True)
                await paused(daemon, flap + 1)
                await asyncio.sleep(arena.planner.random.uniform(0, 0.6))
                arena.rules.set()
                await arena.sends_again(daemon)
        arena.measured("redeliveries", await daemon.metric(REDELIVERED), at_most=flaps)
        await arena.finish(daemon)


@scenario(
    "single sends take longer than RabbitMQ waits for a heartbeat: the connection stays",
    seconds=35,
    quick=21,
)
async def whatsapp_slow(arena: Arena) -> None:
    async with arena.worker(RABBITMQ_HEARTBEAT="2s") as daemon:
        connections = arena.door.came
        async with arena.load(rate=20):
            for _ in range(arena.times(3)):
                arena.rules.set(latency=8)
                await asyncio.sleep(1)  # The rules are read, and quick sends have ended.
                await mid_send(arena)
                arena.rules.set(latency=0.01)
                await arena.sends_again(daemon)
        again = await daemon.metric(REDELIVERED)
        await arena.finish(daemon)
    arena.measured("connections opened anew", arena.door.came - connections, at_most=0)
    arena.measured("redeliveries", again, at_most=0)


@scenario(
    "sends hang: the process ends itself (75), tries each once more, parks it; others are sent",
    seconds=25,
    quick=10,
)
async def whatsapp_hanging(arena: Arena) -> None:
    arena.named_only = True  # So that each doubt is told from the others.
    arena.rules.add({STUCK: {"hang": True}})
    hanging = [arena.planner.good(destination=STUCK) for _ in range(arena.times(4))]
    async with arena.worker(SEND_TIMEOUT="1s") as daemon:
        await arena.publish_all(hanging)
        assert await daemon.exit_code(60) == os.EX_TEMPFAIL
    async with arena.load(rate=20):
        for _ in range(2 * len(hanging) - 1):
            async with arena.worker(ready=False, SEND_TIMEOUT="1s") as daemon:
                assert await daemon.exit_code(60) == os.EX_TEMPFAIL
    async with arena.worker(SEND_TIMEOUT="1s") as daemon:
        result = await arena.finish(daemon)
    kept = ledger(arena.directory)
    tries = [kept.jobs[each.ledger_key(kept.secret)][1] for each in hanging]
    arena.measured("processes that ended themselves", 2 * len(hanging))
    arena.measured("tries of a send that hangs", max(tries), at_most=2)
    assert result.parked == {each.body for each in hanging}
    assert len(kept.doubtful) == len(hanging)


@scenario(
    "the message leaves and no answer comes: sent once more and no more, counted, and parked",
    seconds=12,
    quick=8,
)
async def whatsapp_no_answer(arena: Arena) -> None:
    jobs = arena.times(100)
    once, never, parked = (_unanswered(arena, jobs, doubts) for doubts in (1, 2, 1))
    async with arena.worker() as daemon:
        await _publish_among_others(arena, once + never)
        # Of each one send without an answer, of those that never get one a second.
        await daemon.reaches(IN_DOUBT, 3 * jobs, within=60)
        assert await daemon.metric(IN_DOUBT) == 3 * jobs
        assert await daemon.stop() == 0
    async with arena.worker(ON_UNKNOWN="park") as daemon:
        await _publish_among_others(arena, parked)
        await daemon.reaches(IN_DOUBT, jobs, within=60)
        result = await arena.finish(daemon)
    times = Counter(texts_of(daemon))
    resent = max(times[each.text] for each in once + never)
    arena.measured("sends of a job, ON_UNKNOWN=resend", resent, at_most=2)
    at_most_once = max(times[each.text] for each in parked)
    arena.measured("sends of a job, ON_UNKNOWN=park", at_most_once, at_most=1)
    assert result.parked == {each.body for each in never + parked}
    doubtful = ledger(arena.directory)
    assert doubtful.doubtful == {each.ledger_key(doubtful.secret) for each in once + never + parked}


def _unanswered(arena: Arena, jobs: int, doubts: int) -> list[Planned]:
    """So many jobs, each for somebody whose first sends get no answer."""
    planner = arena.planner
    made = []
    for _ in range(jobs):
        destination = f"+1555{len(planner.rules) + 1_000_000:07d}"
        planner.rules[destination] = {"doubt": doubts}
        made.append(planner.good(destination=destination))
    return made


async def _publish_among_others(arena: Arena, planned: list[Planned]) -> None:
    mixed = [*planned, *(arena.planner.good() for _ in planned)]
    arena.planner.random.shuffle(mixed)
    await arena.publish_all(mixed)
