"""RabbitMQ itself ends, cuts us off, or runs short of something."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.chaos.arena import Arena, now, percentile
from tests.chaos.scenario import Kind, scenario
from tests.integration.messages import Planned
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.rabbitmq import BrokerError, PrivateNode

ALARM_SECONDS = 20.0
AFTER_AN_ALARM = 5.0
"""Seconds within which sends go on."""
AFTER_AN_OUTAGE = 3.0
"""Seconds from RabbitMQ's answer within which sends go on."""
LADDER = 2000
"""Messages that leave the retry ladder together; never fewer, or it is over too soon to hit."""
DRAINED_WITHIN = 240.0


# It ends ----------------------------------------------------------------------------------------


@scenario(
    "RabbitMQ is stopped in an orderly way and started again, five times, under load",
    seconds=50,
    quick=22,
    own_node=True,
)
async def broker_stopped(arena: Arena) -> None:
    await _outages(arena, arena.node.stop, arena.times(5))


@scenario(
    "RabbitMQ is ended by SIGKILL and started again, ten times, under load",
    seconds=95,
    quick=24,
    own_node=True,
)
async def broker_killed(arena: Arena) -> None:
    """A killed classic queue forgets its latest acks: of keyless messages nobody could know."""
    arena.named_only = arena.kind is Kind.CLASSIC
    await _outages(arena, arena.node.kill, arena.times(10))


async def _outages(arena: Arena, take_away: Callable[[], None], number: int) -> None:
    answered: list[float] = []
    async with arena.worker() as daemon:
        async with arena.load(rate=60):
            for _ in range(number):
                await arena.sends_again(daemon)
                await asyncio.to_thread(take_away)
                await asyncio.to_thread(arena.node.start)
                answered.append(now())
                arena.note("RabbitMQ answers again")
            await arena.sends_again(daemon)
        await arena.finish(daemon)
    waited = arena.next_after(answered, daemon)
    arena.measured("outages", len(waited))
    arena.measured("time to the next send, longest", max(waited), "s", at_most=AFTER_AN_OUTAGE)


@scenario(
    "RabbitMQ is ended by SIGKILL exactly while 2,000 messages come back from the retry ladder",
    seconds=40,
    quick=40,
    own_node=True,
)
async def retry_ladder_and_kill(arena: Arena) -> None:
    arena.settings["RETRY_DELAYS"] = "6s"
    rung = f"{WORK_QUEUE}.retry.6s"
    async with arena.worker() as daemon:
        await _fill(arena, rung, [arena.planner.good() for _ in range(LADDER)])
        await _kill_while_they_come(arena, arena.planner.random.randint(100, LADDER // 2))
        await asyncio.to_thread(arena.node.start)
        answered = now()
        await arena.finish(daemon, DRAINED_WITHIN)
    (waited,) = arena.next_after([answered], daemon)
    arena.measured("time to the next send", waited, "s", at_most=AFTER_AN_OUTAGE)


async def _fill(arena: Arena, queue: str, planned: list[Planned]) -> None:
    """Publish straight to a queue, as the daemon's own copies come there."""
    async with connect(arena.url) as client, client.channel() as channel:
        underlay = await channel.get_underlay_channel()
        await asyncio.gather(
            *(
                underlay.basic_publish(
                    each.body, routing_key=queue, properties=each.properties(), mandatory=True
                )
                for each in planned
            )
        )
    arena.publisher.confirmed += planned
    arena.note(f"{len(planned)} are on the ladder")


async def _kill_while_they_come(arena: Arena, many: int) -> None:
    """Have the node watch its work queue until so many came: seen from here it would be over."""
    expression = f"""
        {{ok, Queue}} = rabbit_amqqueue:lookup(
            rabbit_misc:r(<<"{arena.vhost}">>, queue, <<"{WORK_QUEUE}">>)),
        Watch = fun
            Watch(_, 0) -> too_late;
            Watch(Least, Looks) ->
                {{ok, Ready, _}} = rabbit_amqqueue:stat(Queue),
                case Ready - Least >= {many} of
                    true ->
                        io:format(user, "~nkilled with ~b of them~n", [Ready - Least]),
                        os:cmd("kill -9 " ++ os:getpid());
                    false -> timer:sleep(1), Watch(min(Ready, Least), Looks - 1)
                end
        end,
        Watch({10 * LADDER}, 20000)"""
    with suppress(BrokerError):  # The node dies before it has answered.
        await arena.evaluated(expression)
    assert isinstance(arena.node, PrivateNode), "Docker's RabbitMQ can not kill itself"
    came = int(arena.node.log.rpartition("killed with ")[2].split()[0])
    arena.measured("had come back when it was killed", came, at_most=LADDER - 1)
    await asyncio.to_thread(arena.node.kill)  # What belongs to it ends as well.


# It cuts us off ---------------------------------------------------------------------------------


@scenario(
    "RabbitMQ closes every connection by force, fifty times, under load",
    seconds=30,
    quick=16,
    own_node=True,
)
async def connections_closed_by_force(arena: Arena) -> None:
    random = arena.planner.random
    pauses = [random.randint(50, 500) for _ in range(arena.times(50))]
    # One Erlang expression: each call of rabbitmqctl takes longer than we want to wait.
    expression = (
        "[begin timer:sleep(Pause), [catch rabbit_networking:close_connection(C, "
        '"by force") || C <- rabbit_networking:connections()], '
        f"os:system_time(millisecond) end || Pause <- {pauses}]"
    )
    async with arena.worker() as daemon:
        async with arena.load(rate=60):
            closed = await arena.evaluated(expression)
            await arena.sends_again(daemon)
        noticed = daemon.printed.count("by force")
        await arena.finish(daemon)
    waited = arena.next_after([each / 1000 for each in closed], daemon)
    arena.measured("connections closed", len(closed))
    arena.measured("the daemon says so", noticed)
    arena.measured("time to the next send, p50", percentile(waited, 0.5), "s")
    arena.measured("time to the next send, longest", max(waited), "s", at_most=AFTER_AN_OUTAGE)


@scenario(
    "sends last longer than RabbitMQ's consumer timeout, which closes the channel in mid-send",
    seconds=35,
    quick=20,
    own_node=True,
)
async def consumer_timeout(arena: Arena) -> None:
    """Three seconds instead of half an hour, looked at every second instead of every minute."""
    await arena.evaluated(
        "application:set_env(rabbit, consumer_timeout, 3000), "
        "application:set_env(rabbit, channel_tick_interval, 1000)"
    )
    async with arena.worker() as daemon:
        async with arena.load(rate=20):
            for _ in range(arena.times(3)):
                await arena.sends_again(daemon)
                before = daemon.printed.count(TIMED_OUT)
                arena.rules.set(latency=7.0)
                await eventually(
                    partial(_more, daemon, TIMED_OUT, before), "the channel was closed", 20
                )
                arena.rules.set()
                await arena.sends_again(daemon)
        timeouts = daemon.printed.count(TIMED_OUT)
        await arena.finish(daemon)
    arena.measured("channels closed in mid-send", timeouts)


TIMED_OUT = "timed out. Timeout value used"


def _more(daemon: RunningDaemon, words: str, before: int) -> bool:
    return daemon.printed.count(words) > before


# It runs short of something ---------------------------------------------------------------------


@scenario(
    "RabbitMQ raises its memory alarm while jobs are retried, and takes no message from anybody",
    seconds=50,
    quick=30,
    own_node=True,
    kinds=(Kind.CLASSIC,),
)
async def memory_alarm(arena: Arena) -> None:
    limit = "vm_memory_monitor:set_vm_memory_high_watermark({})"
    await _alarm(arena, limit.format("0.0001"), limit.format("0.4"))


@scenario(
    "RabbitMQ raises its disk alarm while jobs are retried, and takes no message from anybody",
    seconds=50,
    quick=30,
    own_node=True,
    kinds=(Kind.QUORUM,),
)
async def disk_alarm(arena: Arena) -> None:
    limit = "rabbit_disk_monitor:set_disk_free_limit({})"
    await _alarm(arena, limit.format('"1000000GB"'), limit.format('"50MB"'))


async def _alarm(arena: Arena, raised: str, cleared: str) -> None:
    """Raise an alarm in the middle of a backlog that needs retries, and a steady load besides."""
    planner = arena.planner
    async with arena.worker() as daemon:
        arena.rules.set(latency=0.1)
        backlog = [
            *(planner.good() for _ in range(150)),
            *(planner.keyless() for _ in range(50)),
            *(planner.failing(3) for _ in range(60)),
        ]
        planner.random.shuffle(backlog)
        await arena.publish_all(backlog)
        async with arena.load(rate=30):
            await arena.evaluated(raised)
            arena.note("the alarm is raised")
            await daemon.says("paused (publisher)", 60)
            arena.note("the daemon says that it can not publish")
            await asyncio.sleep(ALARM_SECONDS * arena.scale)
            (over,) = await arena.evaluated(f"{cleared}, os:system_time(millisecond)")
            arena.note("the alarm is over")
            await arena.sends_again(daemon)
            arena.rules.set()
        await arena.finish(daemon)
    (waited,) = arena.next_after([over / 1000], daemon)
    arena.measured("time to the next send", waited, "s", at_most=AFTER_AN_ALARM)
