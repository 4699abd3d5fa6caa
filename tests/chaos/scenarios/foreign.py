"""Somebody else's queues, exchanges and headers, and messages that were moved by hand."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic import SecretStr
from yarl import URL

from tests.chaos.arena import Arena
from tests.chaos.scenario import Kind, scenario
from tests.integration.amqp_support import raw
from tests.integration.campaign import Publisher, sent
from tests.integration.fault_campaign import MAX_ATTEMPTS
from tests.integration.messages import INVALID, Planned, Planner
from tests.support.amqp import (
    DEAD_LETTERS,
    EXCHANGE,
    ROUTING_KEY,
    WORK_QUEUE,
    Client,
    connect,
)
from tests.support.eventually import eventually
from whatsapp_worker.amqp.topology import work_arguments
from whatsapp_worker.settings import Settings

Arguments = dict[str, Any]

DEAD_EXCHANGE = "woragis.dlx"
CLASH = "inequivalent arg"
"""In RabbitMQ's own words, between which arguments and values."""
FIRST_LOOKED_AT_AGAIN = 60.0
"""Seconds; the worker looks every 30 s at what only a person can mend."""
FRAME = 131_072 - 8 - 12
"""Bytes that the properties of a message can have at most: a frame, less what frames it."""
KIB = 1024


# What the worker needs stands there already, and is not as the worker would make it --------------


@scenario(
    "a retry queue of other arguments stands where ours has to be",
    seconds=45,
    quick=42,
    kinds=(Kind.QUORUM,),
)
async def foreign_retry_rung(arena: Arena) -> None:
    rung = f"{WORK_QUEUE}.retry.{arena.settings['RETRY_DELAYS'].partition(',')[0]}"
    async with connect(arena.url) as client:
        await _jobs_wait(arena, client)
        await _made(client, rung, {"x-message-ttl": 5})
        async with _waiting_for_a_person(arena, rung):
            await _deleted(client, rung)


@scenario(
    "a dead-letter queue that loses messages stands where ours has to be, then a harmless one",
    seconds=45,
    quick=42,
    kinds=(Kind.CLASSIC,),
)
async def foreign_dead_letter_queue(arena: Arena) -> None:
    async with connect(arena.url) as client:
        await _jobs_wait(arena, client)
        await _made(client, DEAD_LETTERS, {"x-max-length": 10})
        async with _waiting_for_a_person(arena, DEAD_LETTERS):
            await _deleted(client, DEAD_LETTERS)
            await _made(client, DEAD_LETTERS, {})


@scenario("both exchanges are of another type than ours", seconds=12, quick=9)
async def foreign_exchange(arena: Arena) -> None:
    async with connect(arena.url) as client:
        async with client.channel() as channel:
            await channel.exchange_delete(EXCHANGE)
            await channel.declare_exchange(EXCHANGE, "topic", durable=True)
            await channel.declare_exchange(DEAD_EXCHANGE, "fanout", durable=True)
        async with arena.worker() as daemon:
            assert f"{EXCHANGE!r} is not as we would make it" in daemon.printed
            assert CLASH in daemon.printed
            await _some(arena)
            await arena.finish(daemon)


QUEUES: dict[Kind, list[Arguments]] = {
    Kind.QUORUM: [
        {"x-queue-type": "quorum"},
        {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-max-length": 10**6},
        {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-expires": 10**7},
    ],
    Kind.CLASSIC: [
        {},
        {"x-max-priority": 5, "x-message-ttl": 10**7},
        {"x-single-active-consumer": True, "x-queue-mode": "lazy"},
    ],
}


@scenario("the work queue is of other arguments, or locked by somebody", seconds=30, quick=25)
async def foreign_work_queue(arena: Arena) -> None:
    async with connect(arena.url) as client:
        for arguments in QUEUES[arena.kind]:
            await _deleted(client, WORK_QUEUE)
            await _made(client, WORK_QUEUE, arguments)
            async with arena.worker() as daemon:
                arena.note(f"used as it is: {arguments}")
                assert f"{WORK_QUEUE!r} is not as we would make it" in daemon.printed
                assert CLASH in daemon.printed
                await _some(arena)
                await arena.nothing_waits(client)
                assert await daemon.stop() == 0
        await _deleted(client, WORK_QUEUE)
        await _made(client, WORK_QUEUE, {}, exclusive=True)
        async with arena.worker(ready=False) as daemon:
            await daemon.says("RESOURCE_LOCKED")
            assert await daemon.status("/readyz", 503)
            await _deleted(client, WORK_QUEUE)
            await daemon.ready(FIRST_LOOKED_AT_AGAIN)
            await _some(arena)
            await arena.finish(daemon)


async def _some(arena: Arena) -> None:
    planned = arena.planner.mixed(arena.times(400), MAX_ATTEMPTS, conflicts=False)
    await arena.publish_all(planned)


async def _jobs_wait(arena: Arena, client: Client) -> None:
    """Have the work queue stand and hold jobs before the worker comes."""
    if arena.kind is Kind.QUORUM:
        settings = Settings(rabbitmq_url=SecretStr(arena.url))
        async with client.channel() as channel:
            exchange = await channel.declare_exchange(EXCHANGE, "direct", durable=True)
            arguments = work_arguments(settings)
            queue = await channel.declare_queue(WORK_QUEUE, durable=True, arguments=arguments)
            await queue.bind(exchange, ROUTING_KEY)
    await _some(arena)


async def _made(
    client: Client, queue: str, arguments: Arguments, *, exclusive: bool = False
) -> None:
    async with client.channel() as channel:
        await channel.declare_queue(
            queue, durable=not exclusive, exclusive=exclusive, arguments=arguments
        )


async def _deleted(client: Client, queue: str) -> None:
    async with client.channel() as channel:
        await channel.queue_delete(queue)


@asynccontextmanager
async def _waiting_for_a_person(arena: Arena, queue: str) -> AsyncIterator[None]:
    """The worker is not ready, says why, and finds out by itself what is mended in this context."""
    async with arena.worker(ready=False) as daemon:
        for words in (queue, CLASH, "delete or rename"):
            await daemon.says(words)
        code, said = await daemon.get("/readyz")
        assert (code, CLASH in said) == (503, True), said
        assert daemon.outbox_entries() == []
        arena.note("the worker waits, and says why")
        yield
        arena.note("mended")
        begun = monotonic()
        await daemon.ready(FIRST_LOOKED_AT_AGAIN)
        arena.measured("from mended to ready", monotonic() - begun, "s", at_most=60)
        await _some(arena)
        await arena.finish(daemon)


# Headers of every kind ----------------------------------------------------------------------------


@scenario(
    "headers of up to 128 KiB, CC, a foreign user_id, a kept x-death, priority and expiration",
    seconds=20,
    quick=12,
)
async def foreign_headers(arena: Arena) -> None:
    publisher = await arena.other_user("publisher")
    arena.publisher = Publisher(publisher)
    user = URL(publisher).user or ""
    planned = [
        _with(properties(user), each)
        for _ in range(arena.times(10))
        for properties in PROPERTIES.values()
        for each in _fates(arena.planner)
    ]
    arena.planner.random.shuffle(planned)
    async with arena.worker() as daemon:
        connections = arena.door.came
        await arena.publish_all(planned)
        found = await arena.finish(daemon)
        assert found.dead == len([each for each in planned if each.reason])
        arena.measured("connections lost", arena.door.came - connections, at_most=0)


def _fates(planner: Planner) -> list[Planned]:
    """A message for every way to leave the worker: sent, copied, dead-lettered, rejected."""
    return [
        planner.good(),
        planner.named(),
        planner.failing(2),
        planner.exhausting(MAX_ATTEMPTS),
        planner.refused(),
        planner.invalid("half a JSON object"),
        planner.invalid("no such country"),
    ]


def _filled_up_to(size: int) -> Basic.Properties:
    empty = len(Basic.Properties(message_id="m-" + "0" * 16, headers={"x": ""}).marshal())
    return Basic.Properties(headers={"x": "y" * (size - empty)})


def _died_before(_: str) -> Basic.Properties:
    def death(queue: str, reason: str) -> dict[str, Any]:
        keys = [WORK_QUEUE]
        time = datetime(2026, 1, 1, tzinfo=UTC)
        table = {"queue": queue, "reason": reason, "exchange": "", "routing-keys": keys}
        return {**table, "count": 3, "time": time}

    rung = f"{WORK_QUEUE}.retry.200ms"
    kept = {rung: "expired", WORK_QUEUE: "rejected", DEAD_LETTERS: "expired"}
    deaths: Any = [death(queue, reason) for queue, reason in kept.items()]
    first = {"x-first-death-queue": rung, "x-first-death-reason": "expired"}
    return Basic.Properties(headers={"x-death": deaths, **first, "x-first-death-exchange": ""})


PROPERTIES: dict[str, Callable[[str], Basic.Properties]] = {
    "headers of 120 KiB": lambda _: _filled_up_to(120 * KIB),
    "headers of a whole frame": lambda _: _filled_up_to(FRAME),
    "CC": lambda _: Basic.Properties(headers={"CC": [WORK_QUEUE, DEAD_LETTERS]}),
    "BCC": lambda _: Basic.Properties(headers={"BCC": [WORK_QUEUE, ROUTING_KEY]}),
    "user_id": lambda user: Basic.Properties(user_id=user),
    "x-death": _died_before,
    "priority": lambda _: Basic.Properties(priority=9),
    "expiration": lambda _: Basic.Properties(expiration="600000"),
    "transient": lambda _: Basic.Properties(delivery_mode=1),
}


def _with(properties: Basic.Properties, planned: Planned) -> Planned:
    properties.message_id = planned.message_id or None
    return replace(planned, raw=properties.marshal())


# Moved by hand ------------------------------------------------------------------------------------


@scenario(
    "dead letters and retry copies are moved back into the work queue by hand, some of them twice",
    seconds=20,
    quick=12,
)
async def moved_by_hand(arena: Arena) -> None:
    arena.settings["RETRY_DELAYS"] = "30s"
    rung, planner, many = f"{WORK_QUEUE}.retry.30s", arena.planner, arena.times(100)
    fine = [planner.good() for _ in range(many)]
    failing = [planner.failing(1) for _ in range(many)]
    refused = [planner.refused() for _ in range(many)]
    lifted = [planner.refused() for _ in range(many)]
    invalid = [planner.invalid(planner.random.choice(list(INVALID))) for _ in range(many)]
    async with arena.worker() as daemon, connect(arena.url) as client:
        await arena.publish_all([*fine, *failing, *refused, *lifted, *invalid])
        await _lie_in(client, {rung: many, DEAD_LETTERS: 3 * many, WORK_QUEUE: 0})
        await sent(daemon, many)
        arena.note("the copies of what has failed are moved back, two of each")
        copies = await _moved(arena, rung, twice=lambda _: True)
        await sent(daemon, 2 * many)
        arena.note("the dead letters are moved back; half of those refused have an account now")
        planner.rules.update({json.loads(each.body)["destination"]: {} for each in lifted})
        arena.publisher.confirmed = [
            replace(each, reason="") if each in lifted else each
            for each in arena.publisher.confirmed
        ]
        await arena.publish_all([])
        bodies = {each.body for each in lifted}
        letters = await _moved(arena, DEAD_LETTERS, twice=lambda each: each.body in bodies)
        await sent(daemon, 3 * many)
        arena.note("what has been sent is moved back once more")
        await _put_back(arena, [*copies, *(each for each in letters if each.body in bodies)])
        await _lie_in(client, {rung: 0, DEAD_LETTERS: 2 * many, WORK_QUEUE: 0})
        found = await arena.finish(daemon)
        arena.measured("messages sent twice", found.surplus.total(), at_most=0)
        arena.measured("dead letters that lie there twice", found.letters_twice.total(), at_most=0)


async def _moved(
    arena: Arena, queue: str, twice: Callable[[DeliveredMessage], bool]
) -> list[DeliveredMessage]:
    """Move what is in a queue to the work queue, as RabbitMQ's management page does.

    Args:
        arena: where.
        queue: from which.
        twice: which messages are put there two times, as when the one who moves them is cut off
            between the confirm and the ack.
    """
    moved = []
    async with connect(arena.url) as client, raw(arena.url) as channel:
        for _ in range(await client.count(queue) or 0):
            message = await channel.basic_get(queue)
            assert isinstance(message.delivery, Basic.GetOk)
            await _put_back(arena, [message] * (2 if twice(message) else 1))
            await channel.basic_ack(message.delivery.delivery_tag or 0)
            moved.append(message)
    return moved


async def _put_back(arena: Arena, messages: list[DeliveredMessage]) -> None:
    """Publish to the work queue through the default exchange, with all the properties."""
    async with raw(arena.url) as channel:
        for each in messages:
            await channel.basic_publish(
                each.body,
                routing_key=WORK_QUEUE,
                properties=each.header.properties,
                mandatory=True,
            )


async def _lie_in(client: Client, counts: dict[str, int]) -> None:
    async def so() -> bool:
        found = {queue: await client.count(queue) for queue in counts}
        assert found == counts, found
        return True

    await eventually(so, "everything lies where it has to", 60)
