"""What the pipeline may rely on, of RabbitMQ and of the fake that stands for it in other tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.fakes import FakeBroker
from tests.integration.amqp_support import running, settings_for
from tests.support.amqp import connect
from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.errors import ErrorType, Invalid, Refused, Transient
from whatsapp_worker.outcome import DeadLetter, Job, Reject, Retry
from whatsapp_worker.ports import Broker
from whatsapp_worker.settings import Settings
from whatsapp_worker.settings.values import read_ladder
from whatsapp_worker.tracing.steps import NotingBroker

JOB = Job("ab" * 32, first_seen=1.0)
PROBLEM = Transient(ErrorType.NETWORK, "no way through")


@dataclass(frozen=True)
class Bench:
    """A broker under test.

    Attributes:
        broker: it.
        publish: puts bodies into its queue.
        stop: ends its deliveries.
        ready: waits until it consumes.
        taken: what it has delivered, and nobody has looked at yet.
    """

    broker: Broker
    publish: Callable[..., Coroutine[Any, Any, None]]
    stop: Callable[[], Coroutine[Any, Any, None]]
    ready: Callable[[], Coroutine[Any, Any, None]]
    taken: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue)

    async def consume(self) -> None:
        """Take what it delivers, until it is stopped."""
        await self.broker.consume(self.taken.put_nowait)


@asynccontextmanager
async def fake(_: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    broker = FakeBroker(prefetch=1)

    async def publish(*bodies: bytes) -> None:
        broker.put(*(Delivery(body, Receipt()) for body in bodies))

    async def stop() -> None:
        broker.stop()

    async def ready() -> None:
        pass

    yield Bench(broker, publish, stop, ready)


@asynccontextmanager
async def rabbitmq(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    url = request.getfixturevalue("amqp_url")
    settings = settings_for(url, retry_delays=read_ladder("1s"))
    async with running(settings, takes=False) as run, connect(url) as client:

        async def publish(*bodies: bytes) -> None:
            await client.publish(*bodies)

        yield Bench(run.broker, publish, run.broker.stop, run.consuming)


@asynccontextmanager
async def noted(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with fake(request) as bench:
        settings = Settings(retry_delays=read_ladder("1s"))
        yield replace(bench, broker=NotingBroker(bench.broker, settings))


Make = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=[fake, noted, pytest.param(rabbitmq, marks=pytest.mark.integration)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    make: Make = request.param
    async with make(request) as bench, asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.consume())
        await bench.ready()
        yield bench
        await bench.stop()


async def next_of(bench: Bench) -> Delivery:
    """The next delivery, which the one before it has to be settled for."""
    async with asyncio.timeout(10):
        return await bench.taken.get()


async def test_delivers_in_the_order_of_publishing(bench: Bench) -> None:
    await bench.publish(b"one", b"two", b"three")
    bodies = []
    for _ in range(3):
        delivery = await next_of(bench)
        bodies.append(delivery.body)
        await bench.broker.ack(delivery)
    assert bodies == [b"one", b"two", b"three"]


async def test_what_is_given_back_comes_again_before_the_rest(bench: Bench) -> None:
    await bench.publish(b"one", b"two")
    delivery = await next_of(bench)
    assert not delivery.redelivered
    await bench.broker.give_back(delivery)
    assert delivery.receipt.lost
    again = await next_of(bench)
    assert (again.body, again.redelivered, again.receipt.lost) == (b"one", True, False)


async def test_what_was_acked_does_not_come_again(bench: Bench) -> None:
    await bench.publish(b"one", b"two")
    await bench.broker.ack(await next_of(bench))
    assert (await next_of(bench)).body == b"two"


async def test_settling_what_has_gone_back_is_a_quiet_no_op(bench: Bench) -> None:
    await bench.publish(b"one")
    delivery = await next_of(bench)
    await bench.broker.give_back(delivery)
    await bench.broker.give_back(delivery)
    again = await next_of(bench)
    await bench.broker.ack(again)


async def test_a_rejected_delivery_is_settled(bench: Bench) -> None:
    await bench.publish(b"bad", b"good")
    bad = await next_of(bench)
    await bench.broker.reject(bad, Reject(Invalid(ErrorType.MALFORMED, "not JSON")))
    assert (await next_of(bench)).body == b"good"


async def test_publishing_a_copy_does_not_settle_the_original(bench: Bench) -> None:
    await bench.publish(b"one", b"two")
    delivery = await next_of(bench)
    await bench.broker.retry(delivery, Retry(JOB, PROBLEM, 1, rung=1.0, delay=1.0))
    await bench.broker.dead_letter(
        delivery, DeadLetter(JOB, Refused(ErrorType.REFUSED, "no"), attempts=1)
    )
    await bench.broker.give_back(delivery)
    assert (await next_of(bench)).body == b"one"


async def test_it_consumes_until_it_is_stopped(bench: Bench) -> None:
    await bench.publish(b"one", b"two")
    await bench.broker.ack(await next_of(bench))
    await next_of(bench)
    await bench.stop()
    async with asyncio.timeout(10):
        await bench.consume()
    assert bench.taken.empty()
