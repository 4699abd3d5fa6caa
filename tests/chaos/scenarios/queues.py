"""The queues and the exchange are pulled away under the daemon."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

from tests.chaos.arena import Arena, now
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import GO_ARGUMENTS, make_anew
from tests.integration.fault_campaign import mid_send
from tests.integration.messages import Planned
from tests.integration.reckoning import ledger
from tests.support.amqp import EXCHANGE, ROUTING_KEY, WORK_QUEUE, Client, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually

Way = Callable[[Client], Awaitable[None]]
"""A way to pull queues away."""
FOREIGN: tuple[dict[str, Any], ...] = (
    GO_ARGUMENTS,
    {"x-queue-type": "quorum", **GO_ARGUMENTS, "x-max-length": 10**6},
    {},
    {"x-max-priority": 5},
    {"x-queue-type": "quorum", "x-delivery-limit": 50},
)
"""Arguments that are not ours."""


@scenario(
    "the work queue is deleted under the daemon again and again, with jobs on the retry ladder",
    seconds=35,
    quick=18,
    own_node=True,
    kinds=(Kind.CLASSIC,),
)
async def work_queue_deleted(arena: Arena) -> None:
    """Classic the first time: then it is the daemon that makes it anew, as a quorum queue."""
    await _pulled_away(arena, [_delete] * arena.times(4))


@scenario(
    "the work queue is deleted and made anew with other arguments, and so is the exchange",
    seconds=40,
    quick=20,
    own_node=True,
    kinds=(Kind.QUORUM,),
)
async def queues_made_anew(arena: Arena) -> None:
    ways: list[Way] = [_make_exchange_anew]
    ways += [partial(make_anew, arguments) for arguments in FOREIGN]
    await _pulled_away(arena, ways[: arena.times(len(ways)) + 1])


async def _pulled_away(arena: Arena, ways: list[Way]) -> None:
    """Pull the work queue away in each of these ways while jobs are sent, retried and waiting."""
    arena.settings["RETRY_DELAYS"] = "4s"
    waited: list[float] = []
    # A rung that found no work queue tries again after so long, by default three minutes.
    await arena.dead_lettering_tries_again(after=2)
    async with arena.worker() as daemon, connect(arena.url) as client:
        for way in ways:
            await _settle(arena, daemon, client)
            await _on_the_ladder(arena)
            doomed = await _under_way(arena)
            pulled = now()
            await way(client)
            arena.note(f"{getattr(way, 'func', way).__name__} is done")
            arena.publisher.confirmed[-doomed:], gone = [], arena.publisher.confirmed[-doomed:]
            arena.publisher.unknown += gone  # What lay in the queue is nobody's promise.
            arena.rules.set()
            fresh = await _published_at_last(arena)
            waited.append(await _sent_at(fresh, daemon) - pulled)
        await arena.finish(daemon)
    arena.measured("times", len(waited))
    arena.measured("time until a new message was sent, longest", max(waited), "s", at_most=2.0)


async def _settle(arena: Arena, daemon: RunningDaemon, client: Client) -> None:
    """Have everything before sent or dead-lettered, and some more of every kind."""
    mixed = arena.planner.mixed(30, 1, conflicts=False)
    last = arena.planner.good()  # When it is sent, all before it have been delivered.
    await arena.publish_all([*(each for each in mixed if not each.retries), last])
    await _sent_at(last, daemon)
    await arena.nothing_waits(client)


async def _on_the_ladder(arena: Arena) -> None:
    """Have some jobs wait for another attempt."""
    await arena.publish_all([arena.planner.failing(1) for _ in range(10)])

    def waiting() -> bool:
        states = [state for state, _, _ in ledger(arena.directory).jobs.values()]
        return states.count("RETRY") == 10

    await eventually(waiting, "ten jobs wait for another attempt")


async def _under_way(arena: Arena) -> int:
    """Have a job in mid-send and some behind it in the queue; returns how many those are."""
    arena.rules.set(latency=0.5)
    await arena.publish_all([arena.planner.good()])
    await mid_send(arena)
    behind = [arena.planner.good() for _ in range(5)]
    await arena.publisher.publish(behind)
    return len(behind)


async def _published_at_last(arena: Arena) -> Planned:
    """Publish until RabbitMQ takes a message: there may be no queue for it yet."""

    async def taken() -> bool:
        await arena.publisher.publish([arena.planner.good()])
        return arena.publisher.confirmed[-1] is not before

    before = arena.publisher.confirmed[-1]
    await eventually(taken, "RabbitMQ takes a message")
    return arena.publisher.confirmed[-1]


async def _sent_at(planned: Planned, daemon: RunningDaemon) -> float:
    """Wait until a message was sent; returns when that was (Unix seconds)."""

    def sent() -> str | None:
        entries = daemon.outbox_entries()
        return next((each["at"] for each in entries if each["text"] == planned.text), None)

    at: str = await eventually(sent, "a certain message is sent", 30)
    return datetime.fromisoformat(at).timestamp()


async def _delete(client: Client) -> None:
    async with client.channel() as channel:
        await channel.queue_delete(WORK_QUEUE)


async def _make_exchange_anew(client: Client) -> None:
    """Make it a topic exchange instead of a direct one."""
    async with client.channel() as channel:
        await channel.exchange_delete(EXCHANGE)
        exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.get_queue(WORK_QUEUE, ensure=False)
        await queue.bind(exchange, ROUTING_KEY)
