"""Deliveries and the five ways to settle one, on a real RabbitMQ."""

import asyncio
from typing import Any

import pytest
from aiormq.abc import AbstractChannel, ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.integration.amqp_support import (
    DEAD,
    GO_ARGUMENTS,
    JOB,
    WORK,
    at_peace,
    raw,
    running,
    settings_for,
    taken,
)
from tests.support.amqp import connect
from tests.support.eventually import eventually
from tests.support.poison import ODD_BUT_READABLE, POISONS, RawProperties
from whatsapp_worker.amqp import Depths
from whatsapp_worker.amqp.incoming import trace_id
from whatsapp_worker.demo.find import Node
from whatsapp_worker.errors import (
    ErrorType,
    Invalid,
    PauseReason,
    Refused,
    Transient,
    Unavailable,
)
from whatsapp_worker.outcome import DeadLetter, Reject, Retry

MALFORMED = Reject(Invalid(ErrorType.MALFORMED, "not JSON"))
KINDS = pytest.mark.parametrize("kind", ["quorum", "classic"])


async def made(amqp_url: str, kind: str) -> None:
    """Make the work queue as the Go worker did, or leave it to us."""
    if kind == "classic":
        async with raw(amqp_url) as channel:
            await channel.queue_declare(WORK, durable=True, arguments=dict(GO_ARGUMENTS))


async def test_an_ordinary_message_arrives_and_is_acked(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"hello", message_id="m1", headers={"a": 1})
        delivery = await run.next()
        assert (delivery.body, delivery.message_id, delivery.redelivered) == (b"hello", "m1", False)
        await run.broker.ack(delivery)
        await run.broker.ack(delivery)  # A second ack is a quiet no-op.
    async with connect(amqp_url) as client:
        assert await client.count(WORK) == 0


@KINDS
async def test_poison_properties_hold_nobody_up(
    amqp_url: str, kind: str, broker_node: Node
) -> None:
    await made(amqp_url, kind)
    async with running(settings_for(amqp_url)) as run, raw(amqp_url) as channel:
        for poison in (*POISONS, *ODD_BUT_READABLE):
            if "delivery mode" in poison.name:
                continue  # RabbitMQ 3.10 itself refuses those.
            properties = RawProperties(poison.raw)
            await channel.basic_publish(b"bad", routing_key=WORK, properties=properties)
            await channel.basic_publish(b"good", routing_key=WORK)
            bad, good = await run.next(1.0), None
            assert (bad.body, bad.repaired) == (b"bad", poison.broken), poison.name
            if poison.broken:
                await run.broker.reject(bad, MALFORMED)
            else:
                await run.broker.ack(bad)
            good = await run.next(1.0)
            assert good.body == b"good"
            await run.broker.ack(good)
        assert run.lost == 0
        assert run.reported == []
        await at_peace(lambda: _count(amqp_url, DEAD), len(POISONS))


async def test_an_undecodable_routing_key_does_no_harm(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, raw(amqp_url) as channel:
        await channel.queue_bind(WORK, "amq.fanout", "")
        broken = _BrokenKey(exchange="amq.fanout", routing_key="key")
        await _publish_raw(channel, broken, b"odd key")
        delivery = await run.next()
        assert (delivery.body, delivery.repaired) == (b"odd key", ())


async def test_a_retry_copy_comes_back_once_with_its_attempt(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(
            b"later", message_id="m1", correlation_id="c1", reply_to="r", headers={"a": 1}
        )
        first = await run.next()
        error = Transient(ErrorType.NETWORK, "no route")
        await run.broker.retry(first, Retry(JOB, error, 1, rung=0.3, delay=0.25))
        await run.broker.ack(first)
        again = await run.next()
        await run.broker.ack(again)
    assert (again.body, again.message_id, again.job_key) == (b"later", "m1", JOB.key)
    assert (again.attempt, again.redelivered, again.replay) == (1, False, False)


async def test_what_lies_on_the_ladder_carries_exactly_our_headers(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"later", message_id="m1", headers={"a": 1, "CC": []})
        first = await run.next()
        error = Transient(ErrorType.NETWORK, "no route")
        await run.broker.retry(first, Retry(JOB, error, 2, rung=2.0, delay=1.9))
        (copy,) = await taken(amqp_url, "whatsapp.queue.retry.2s")
        await run.broker.ack(first)
    properties = copy.header.properties
    headers = dict(properties.headers or {})
    assert trace_id(headers.pop("traceparent")) == first.trace_id
    assert headers == {"x-job-key": JOB.key, "x-attempt": 2}
    assert (properties.expiration, properties.delivery_mode) == ("1900", 2)
    assert properties.message_id == "m1"


async def test_a_dead_letter_says_why(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"no", message_id="m1")
        delivery = await run.next()
        error = Refused(ErrorType.NOT_ON_WHATSAPP, "not on WhatsApp")
        await run.broker.dead_letter(delivery, DeadLetter(JOB, error, 1))
        await run.broker.ack(delivery)
    (copy,) = await taken(amqp_url, DEAD)
    headers = copy.header.properties.headers or {}
    assert headers.pop("x-failed-at")
    assert trace_id(headers.pop("traceparent")) == delivery.trace_id
    assert headers == {
        "x-job-key": JOB.key,
        "x-error-type": "not_on_whatsapp",
        "x-error-detail": "not on WhatsApp",
        "x-attempts": 1,
        "x-unknown-count": 0,
        "x-first-seen": "2026-01-01T00:00:00Z",
        "x-origin-queue": WORK,
    }
    assert copy.body == b"no"


async def test_on_our_queue_a_rejected_message_is_moved_as_it_is(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await eventually(lambda: run.broker.depths.dead_letters == 0)
        await client.publish(b"{", message_id="m1", headers={"a": 1})
        await run.broker.reject(await run.next(), MALFORMED)
        (moved,) = await taken(amqp_url, DEAD)
    headers = moved.header.properties.headers or {}
    assert headers["a"] == 1
    assert headers["x-first-death-reason"] == "rejected"
    assert "x-error-type" not in headers


async def test_a_key_conflict_is_copied_because_nobody_could_find_its_reason_again(
    amqp_url: str,
) -> None:
    conflict = Reject(Invalid(ErrorType.KEY_CONFLICT, "key used before"))
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"{}", message_id="m1")
        await run.broker.reject(await run.next(), conflict)
        (copy,) = await taken(amqp_url, DEAD)
    assert (copy.header.properties.headers or {})["x-error-type"] == "key_conflict"


async def test_on_the_go_workers_queue_a_rejected_message_is_copied(amqp_url: str) -> None:
    await made(amqp_url, "classic")
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"{", message_id="m1")
        await run.broker.reject(await run.next(), MALFORMED)
        (copy,) = await taken(amqp_url, DEAD)
        assert await client.count(WORK) == 0
    assert (copy.header.properties.headers or {})["x-error-type"] == "malformed"


@KINDS
async def test_giving_back_keeps_the_order(amqp_url: str, kind: str) -> None:
    await made(amqp_url, kind)
    bodies = [b"%d" % number for number in range(8)]
    settings = settings_for(amqp_url, whatsapp_prefetch_count=3)
    async with running(settings) as run, connect(amqp_url) as client:
        await client.publish(*bodies)
        for _ in range(3):
            held = [await run.next() for _ in range(3)]
            await run.broker.pause()
            assert not run.broker.status.consuming
            for delivery in held:
                await run.broker.give_back(delivery)
            await at_peace(lambda: client.count(WORK), 8)
            await run.broker.resume()
        assert await run.take(8) == bodies


@KINDS
async def test_what_was_given_back_in_order_comes_again_in_order(amqp_url: str, kind: str) -> None:
    await made(amqp_url, kind)
    bodies = [b"%d" % number for number in range(6)]
    settings = settings_for(amqp_url, whatsapp_prefetch_count=4)
    async with running(settings) as run, connect(amqp_url) as client:
        await client.publish(*bodies)
        held = [await run.next() for _ in range(4)]
        await run.broker.pause()
        for delivery in held:
            await run.broker.give_back(delivery)
        await at_peace(lambda: client.count(WORK), 6)
        await run.broker.resume()
        assert await run.take(6) == bodies


async def test_what_is_held_over_a_pause_can_still_be_acked(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"1", b"2")
        held = await run.next()
        await run.broker.pause()
        await run.broker.ack(held)
        await run.broker.resume()
        assert await run.take(1) == [b"2"]
        await at_peace(lambda: client.count(WORK), 0)


async def test_stopped_it_takes_nothing_more_and_what_is_held_can_be_settled(
    amqp_url: str,
) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"1", b"2", b"3")
        held = await run.next()
        await run.broker.stop()
        await run.broker.consume(run.taken.put_nowait)  # It returns: nothing more is to come.
        await run.broker.ack(held)
        await at_peace(lambda: client.count(WORK), 2)
        assert run.taken.empty()
    assert [message.body for message in await taken(amqp_url, WORK, 2)] == [b"2", b"3"]


async def test_an_ack_written_just_before_closing_is_not_lost(amqp_url: str) -> None:
    for _ in range(5):
        async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
            await client.publish(b"1")
            await run.broker.ack(await run.next())
        async with connect(amqp_url) as client:
            assert await client.count(WORK) == 0


@KINDS
async def test_acks_are_proven_by_what_follows(amqp_url: str, kind: str, broker_node: Node) -> None:
    await made(amqp_url, kind)
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"1", b"2")
        first = await run.next()
        await run.broker.ack(first)
        second = await run.next()
        assert first.receipt.ack_proven
        await run.broker.ack(second)
        await _cut(broker_node, amqp_url)
        await run.consuming()
        assert not second.receipt.ack_proven
        async with connect(amqp_url) as client_again:
            await client_again.publish(b"3")
        third = await run.next()
        while third.redelivered:  # The ack of the second was lost with the connection.
            await run.broker.ack(third)
            third = await run.next()
        assert second.receipt.ack_proven


async def test_a_missing_rung_is_made_again(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"later")
        delivery = await run.next()
        async with raw(amqp_url) as channel:
            await channel.queue_delete("whatsapp.queue.retry.300ms")
        retry = Retry(JOB, Transient(ErrorType.NETWORK, "no route"), 1, 0.3, 0.3)
        with pytest.raises(Unavailable, match="no queue there"):
            await run.broker.retry(delivery, retry)
        await at_peace(lambda: client.count("whatsapp.queue.retry.300ms"), 0)

        async def taken() -> bool:
            try:
                await run.broker.retry(delivery, retry)
            except Unavailable:  # The new queue has not elected its leader yet.
                return False
            return True

        await eventually(taken, "the rung takes a message")
        await run.broker.ack(delivery)
        assert (await run.next()).attempt == 1


async def test_a_full_dead_letter_queue_pauses_until_there_is_room(
    amqp_url: str, vhost: str, broker_node: Node
) -> None:
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await asyncio.to_thread(
            broker_node.ctl, "set_policy", "-p", vhost, "full", r"\.failed$", policy
        )
        letter = DeadLetter(JOB, Refused(ErrorType.REFUSED, "no"), 1)
        await client.publish(b"1")
        delivery = await run.next()
        refused = None
        for _ in range(4):  # A quorum queue lets one or two more in.
            try:
                await run.broker.dead_letter(delivery, letter)
            except Unavailable as error:
                refused = error
                break
        assert refused is not None
        assert refused.reason is PauseReason.DEAD_LETTERS
        assert "full" in run.paused[PauseReason.DEAD_LETTERS]
        lying = await client.drain(DEAD)
        assert lying
        await eventually(lambda: not run.paused, "pause over", 15)
        await run.broker.dead_letter(delivery, letter)
        await run.broker.ack(delivery)


async def test_depths_are_known_while_connected_and_only_then(
    amqp_url: str, broker_node: Node
) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        held = await _one_held(run, client)
        await client.publish(b"ready 1", b"ready 2")
        await eventually(lambda: run.broker.depths.ready == 2, "depth", 8)
        assert run.broker.depths.dead_letters == 0
        await run.broker.ack(held)
        await run.broker.close()
        assert run.broker.depths == Depths()
        assert not run.broker.status.connected


async def _one_held(run: Any, client: Any) -> Any:
    await client.publish(b"held")
    return await run.next()


async def _count(amqp_url: str, queue: str) -> int | None:
    async with connect(amqp_url) as client:
        return await client.count(queue)


async def _cut(node: Node, amqp_url: str) -> None:
    vhost = amqp_url.rsplit("/", 1)[1]
    await asyncio.to_thread(node.ctl, "close_all_connections", "--vhost", vhost, "test")


class _BrokenKey(Basic.Publish):
    """A publish whose routing key is not UTF-8."""

    def marshal(self) -> bytes:
        return super().marshal().replace(b"\x03key", b"\x03\xff\xfe\xfa")


async def _publish_raw(channel: AbstractChannel, publish: Basic.Publish, body: bytes) -> None:
    header = ContentHeader(body_size=len(body), properties=Basic.Properties(message_id="x"))
    frames: list[Any] = [publish, header, ContentBody(body)]
    await channel.connection.write_queue.put(
        ChannelFrame.marshall(channel_number=channel.number, frames=frames)
    )
