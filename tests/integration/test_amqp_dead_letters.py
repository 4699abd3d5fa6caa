"""Looking at dead letters, sending them back, throwing them away."""

import asyncio
import json
from contextlib import aclosing

import pytest
from pamqp.commands import Basic

from tests.integration.amqp_support import (
    DEAD,
    JOB,
    WORK,
    at_peace,
    raw,
    running,
    settings_for,
    taken,
)
from tests.support.amqp import connect, envelope
from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry, Replayed
from whatsapp_worker.demo.find import Node
from whatsapp_worker.errors import ErrorType, Invalid, Misconfigured, Refused, Unavailable
from whatsapp_worker.outcome import DeadLetter, Reject


async def never(_: Entry) -> str | None:
    return None


def everything(_: Entry) -> bool:
    return True


async def listed(dead: DeadLetters) -> list[Entry]:
    return [entry async for entry in dead.entries()]


async def replayed(dead: DeadLetters, *texts: bytes) -> list[Replayed]:
    return [each async for each in dead.replay(lambda e: e.body in texts, never)]


async def filled(amqp_url: str, *bodies: bytes) -> None:
    """Let a worker dead-letter these, each refused by WhatsApp."""
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(*bodies, message_id="m1")
        for _ in bodies:
            delivery = await run.next()
            error = Refused(ErrorType.NOT_ON_WHATSAPP, "not on WhatsApp")
            await run.broker.dead_letter(delivery, DeadLetter(JOB, error, 2))
            await run.broker.ack(delivery)


async def test_looking_shows_everything_and_changes_nothing(amqp_url: str) -> None:
    await filled(amqp_url, b"1", b"2", b"3")
    dead = DeadLetters(settings_for(amqp_url))
    for _ in range(3):
        entries = await listed(dead)
        assert [entry.body for entry in entries] == [b"1", b"2", b"3"]
    first = entries[0]
    assert (first.position, first.message_id, first.job_key) == (0, "m1", JOB.key)
    assert (first.error_type, first.error_detail) == ("not_on_whatsapp", "not on WhatsApp")
    assert (first.attempts, first.unknown_count, first.size) == (2, 0, 1)
    assert (first.origin_queue, first.first_seen) == (WORK, "2026-01-01T00:00:00Z")
    assert first.failed_at
    assert "b'1'" not in repr(first)


async def test_the_reason_of_a_moved_message_is_found_by_reading_it_again(amqp_url: str) -> None:
    reject = Reject(Invalid(ErrorType.MALFORMED, "not JSON"))
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await asyncio.sleep(0)
        await client.publish(b"{", envelope(destination="+15550100123"))
        for _ in range(2):
            await run.broker.reject(await run.next(), reject)
        await at_peace(lambda: client.count(DEAD), 2)
    malformed, fine = await listed(DeadLetters(settings_for(amqp_url)))
    assert malformed.error_type == "malformed"
    assert malformed.error_detail
    assert malformed.failed_at
    assert malformed.origin_queue == WORK
    assert fine.error_type is None  # The rules were changed meanwhile.
    assert fine.error_detail == "RabbitMQ moved it here (rejected)"


async def test_a_replay_comes_back_as_one_and_leaves_the_rest_in_order(amqp_url: str) -> None:
    await filled(amqp_url, b"1", b"2", b"3", b"4")
    dead = DeadLetters(settings_for(amqp_url))
    done = await replayed(dead, b"2", b"3")
    assert [(each.entry.body, each.refused) for each in done] == [(b"2", None), (b"3", None)]
    assert [entry.body for entry in await listed(dead)] == [b"1", b"4"]
    async with running(settings_for(amqp_url)) as run:
        for body in (b"2", b"3"):
            delivery = await run.next()
            assert delivery.body == body
            assert (delivery.replay, delivery.job_key) == (True, JOB.key)
            assert (delivery.attempt, delivery.redelivered) == (0, False)
            await run.broker.ack(delivery)


async def test_what_is_refused_stays(amqp_url: str) -> None:
    await filled(amqp_url, b"1", b"2")
    dead = DeadLetters(settings_for(amqp_url))

    async def refuse(entry: Entry) -> str | None:
        return "it was sent" if entry.body == b"1" else None

    done = [each async for each in dead.replay(everything, refuse)]
    assert [each.refused for each in done] == ["it was sent", None]
    assert [entry.body for entry in await listed(dead)] == [b"1"]


async def test_a_replay_that_is_broken_off_keeps_the_rest(amqp_url: str) -> None:
    await filled(amqp_url, b"1", b"2", b"3")
    dead = DeadLetters(settings_for(amqp_url))
    async with aclosing(dead.replay(everything, never)) as done:
        await anext(done)
    assert [entry.body for entry in await listed(dead)] == [b"2", b"3"]


async def test_a_replay_with_nowhere_to_go_loses_nothing(amqp_url: str) -> None:
    await filled(amqp_url, b"1")
    async with raw(amqp_url) as channel:
        await channel.queue_delete(WORK)
    dead = DeadLetters(settings_for(amqp_url))
    with pytest.raises(Unavailable, match="nothing replayed"):
        await replayed(dead, b"1")
    assert [entry.body for entry in await listed(dead)] == [b"1"]


async def test_a_moved_message_is_replayed_with_a_time_and_without_a_forged_key(
    amqp_url: str,
) -> None:
    reject = Reject(Invalid(ErrorType.MALFORMED, "not JSON"))
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"{", headers={"x-job-key": "f" * 64})
        await run.broker.reject(await run.next(), reject)
        await at_peace(lambda: client.count(DEAD), 1)
    await replayed(DeadLetters(settings_for(amqp_url)), b"{")
    (copy,) = await taken(amqp_url, WORK)
    assert list(copy.header.properties.headers or {}) == ["x-failed-at"]


async def test_a_message_moved_back_by_a_shovel_is_a_replay(amqp_url: str) -> None:
    await filled(amqp_url, b"1")
    (letter,) = await taken(amqp_url, DEAD)
    async with running(settings_for(amqp_url)) as run, raw(amqp_url) as channel:
        await channel.basic_publish(
            letter.body,
            routing_key=WORK,
            properties=Basic.Properties(headers=letter.header.properties.headers),
        )
        delivery = await run.next()
        assert (delivery.replay, delivery.job_key, delivery.attempt) == (True, JOB.key, 0)
        await run.broker.ack(delivery)


async def test_dropping_deletes_what_was_chosen_and_nothing_else(amqp_url: str) -> None:
    await filled(amqp_url, b"1", b"2", b"3")
    dead = DeadLetters(settings_for(amqp_url))
    dropped = [entry.body async for entry in dead.drop(lambda entry: entry.position == 1)]
    assert dropped == [b"2"]
    assert [entry.body for entry in await listed(dead)] == [b"1", b"3"]


async def test_an_empty_queue_is_no_error_and_a_missing_one_is(amqp_url: str) -> None:
    dead = DeadLetters(settings_for(amqp_url))
    with pytest.raises(Misconfigured, match="no dead-letter queue"):
        await listed(dead)
    async with running(settings_for(amqp_url)):
        pass
    assert await listed(dead) == []


async def test_a_broker_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="nothing answers"):
        await listed(DeadLetters(settings_for("amqp://guest:guest@127.0.0.1:1/x")))


async def test_an_envelope_survives_the_round_trip_byte_for_byte(amqp_url: str) -> None:
    body = json.dumps(envelope("olá\n✓")).encode()
    await filled(amqp_url, body)
    await replayed(DeadLetters(settings_for(amqp_url)), body)
    assert [message.body for message in await taken(amqp_url, WORK)] == [body]


async def test_a_queue_that_was_full_takes_letters_again_when_its_limit_is_taken_away(
    amqp_url: str, vhost: str, broker_node: Node
) -> None:
    """RabbitMQ would go on refusing the channel that it has refused once."""
    letter = DeadLetter(JOB, Refused(ErrorType.NOT_ON_WHATSAPP, "not on WhatsApp"), 1)
    limit = ("^whatsapp", '{"max-length": 1, "overflow": "reject-publish"}', "--apply-to", "queues")
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await asyncio.to_thread(broker_node.ctl, "set_policy", "-p", vhost, "full", *limit)
        await client.publish(b"1")
        delivery = await run.next()
        await run.broker.dead_letter(delivery, letter)
        await run.broker.dead_letter(delivery, letter)  # A quorum queue takes one too many.
        with pytest.raises(Unavailable, match="full"):
            await run.broker.dead_letter(delivery, letter)
        await asyncio.to_thread(broker_node.ctl, "clear_policy", "-p", vhost, "full")
        await run.broker.dead_letter(delivery, letter)
        await run.broker.ack(delivery)
