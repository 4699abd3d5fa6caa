"""What is ours is made, what is not is used or refused, and it is said why (DESIGN 4)."""

import asyncio
from typing import Any

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from tests.integration.amqp_support import (
    DEAD,
    GO_ARGUMENTS,
    WORK,
    at_peace,
    raw,
    running,
    settings_for,
)
from tests.support.amqp import connect
from tests.support.eventually import eventually
from whatsapp_worker.amqp.checkup import checkup
from whatsapp_worker.amqp.session import connected
from whatsapp_worker.amqp.topology import (
    DEAD_ARGUMENTS,
    Found,
    Topology,
    retry_arguments,
    work_arguments,
)
from whatsapp_worker.demo.find import Node
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.settings import Topology as Mode


async def somebody_declares(
    amqp_url: str, queue: str, arguments: dict[str, Any] | None = None, *, durable: bool = True
) -> None:
    async with raw(amqp_url) as channel:
        await channel.queue_declare(queue, durable=durable, arguments=arguments or {})


async def established(amqp_url: str, **given: Any) -> Found:
    settings = settings_for(amqp_url, **given)
    async with connected(settings, "test") as connection:
        return await Topology(connection, settings).establish()


async def delivers(amqp_url: str, **given: Any) -> None:
    """A message goes all the way through."""
    async with running(settings_for(amqp_url, **given)) as run, connect(amqp_url) as client:
        await client.publish(b"hello")
        assert await run.take(1) == [b"hello"]


async def test_everything_is_made_and_made_again_unchanged(amqp_url: str) -> None:
    for _ in range(2):
        assert await established(amqp_url) == Found(ours=True)
    settings = settings_for(amqp_url)
    names = {WORK: work_arguments(settings), DEAD: DEAD_ARGUMENTS} | {
        settings.retry_queue(rung): retry_arguments(settings, rung.seconds)
        for rung in settings.retry_delays
    }
    assert "whatsapp.queue.retry.300ms" in names
    for queue, arguments in names.items():
        await somebody_declares(amqp_url, queue, arguments)  # Equal, or this would raise.


async def test_a_queue_of_the_go_worker_is_used_as_it_is(
    amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await somebody_declares(amqp_url, WORK, GO_ARGUMENTS)
    found = await established(amqp_url)
    assert (found.ours, found.classic) == (False, True)
    assert "inequivalent arg" in found.notes[0]
    await delivers(amqp_url)
    assert [r.getMessage() for r in caplog.records].count(found.notes[0]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x-message-ttl": 600_000},
        {"x-queue-type": "quorum"},
        {"x-single-active-consumer": True},
        {"x-max-priority": 5},
    ],
    ids=str,
)
async def test_any_foreign_queue_is_used_as_it_is(amqp_url: str, arguments: dict[str, Any]) -> None:
    await somebody_declares(amqp_url, WORK, arguments)
    found = await established(amqp_url)
    assert (found.ours, found.classic) == (False, False)
    await delivers(amqp_url)


async def test_a_foreign_exchange_is_used_as_it_is(amqp_url: str) -> None:
    async with raw(amqp_url) as channel:
        await channel.exchange_declare("woragis.notifications", exchange_type="topic", durable=True)
    found = await established(amqp_url)
    assert found.ours
    assert "woragis.notifications" in found.notes[0]
    await delivers(amqp_url)


async def test_a_foreign_classic_queue_is_consumed_alone(amqp_url: str) -> None:
    await somebody_declares(amqp_url, WORK, GO_ARGUMENTS)
    settings = settings_for(amqp_url)
    async with running(settings), running(settings, ready=False) as second:
        problem = await second.trouble("another consumer is still there")
        assert "exclusive" in problem
        assert not second.broker.status.consuming


async def test_a_plain_dead_letter_queue_is_harmless(amqp_url: str) -> None:
    await somebody_declares(amqp_url, DEAD)
    assert (await established(amqp_url)).ours
    await delivers(amqp_url)


@pytest.mark.parametrize("arguments", [{"x-message-ttl": 1000}, {"x-max-length": 10}], ids=str)
async def test_a_dead_letter_queue_that_loses_messages_is_an_error(
    amqp_url: str, arguments: dict[str, Any]
) -> None:
    await somebody_declares(amqp_url, DEAD, arguments)
    async with running(settings_for(amqp_url), ready=False) as run:
        problem = await run.trouble("inequivalent arg")
        assert DEAD in problem
        assert not run.broker.status.topology_ok


async def test_a_foreign_rung_is_an_error_in_the_brokers_words(amqp_url: str) -> None:
    await somebody_declares(amqp_url, "whatsapp.queue.retry.2s", {"x-message-ttl": 5})
    async with running(settings_for(amqp_url), ready=False) as run:
        problem = await run.trouble("inequivalent arg")
        assert "whatsapp.queue.retry.2s" in problem
        assert not run.broker.status.consuming


async def test_verify_waits_for_others_to_make_exchange_and_queue(amqp_url: str) -> None:
    settings = settings_for(amqp_url, whatsapp_topology=Mode.VERIFY)
    async with running(settings, ready=False) as run, raw(amqp_url) as channel:
        await run.trouble("the exchange 'woragis.notifications'")
        await channel.exchange_declare("woragis.notifications", durable=True)
        await run.trouble("the queue 'whatsapp.queue'")
        await channel.queue_declare(WORK, durable=True, arguments=dict(GO_ARGUMENTS))
        await run.consuming()
        await channel.basic_publish(b"hello", routing_key=WORK)
        assert await run.take(1) == [b"hello"]


async def test_verify_makes_neither(amqp_url: str) -> None:
    settings = settings_for(amqp_url, whatsapp_topology=Mode.VERIFY)
    async with running(settings, ready=False) as run:
        await run.trouble("waiting for somebody")
    async with connect(amqp_url) as client:
        assert await client.count(WORK) is None
    async with raw(amqp_url) as channel:
        with pytest.raises(ChannelNotFoundEntity):
            await channel.exchange_declare("woragis.notifications", passive=True)


async def test_a_queue_deleted_and_made_again_by_others_is_consumed_again(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"held")
        held = await run.next()
        async with raw(amqp_url) as channel:
            await channel.queue_delete(WORK)
            await channel.queue_declare(WORK, durable=True, arguments=dict(GO_ARGUMENTS))
        await eventually(lambda: held.receipt.lost, "the loss is noticed", 5)
        assert run.lost == 1
        await run.broker.ack(held)  # A quiet no-op.
        await run.consuming(5)
        await client.publish(b"new")
        assert await run.take(1) == [b"new"]


async def test_a_deleted_dead_letter_queue_is_made_again(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await eventually(lambda: run.broker.depths.dead_letters == 0)
        async with raw(amqp_url) as channel:
            await channel.queue_delete(DEAD)
        await at_peace(lambda: client.count(DEAD), 0, 10)
        await eventually(lambda: PauseReason.DEAD_LETTERS in run.reported, "it was noticed")
        await eventually(lambda: run.paused == {}, "work goes on")


async def test_a_checkup_of_an_empty_broker_makes_nothing(amqp_url: str) -> None:
    findings = await checkup(settings_for(amqp_url))
    assert all(finding.ok for finding in findings)
    assert {f.detail for f in findings[1:-1]} == {"missing; the worker makes it when it starts"}
    async with connect(amqp_url) as client:
        assert await client.count(WORK) is None
        assert await client.count(DEAD) is None


async def test_a_checkup_says_what_is_wrong_and_how_to_mend_it(amqp_url: str) -> None:
    await somebody_declares(amqp_url, "whatsapp.queue.retry.2s", {"x-message-ttl": 5})
    await somebody_declares(amqp_url, DEAD, {"x-max-length": 5})
    await somebody_declares(amqp_url, WORK, GO_ARGUMENTS)
    wrong = {f.subject: f for f in await checkup(settings_for(amqp_url)) if not f.ok}
    assert set(wrong) == {f"queue {DEAD}", "queue whatsapp.queue.retry.2s"}
    for finding in wrong.values():
        assert "inequivalent arg" in finding.detail
        assert "delete or rename" in (finding.fix or "")


async def test_a_checkup_in_verify_mode_misses_what_others_have_to_make(amqp_url: str) -> None:
    settings = settings_for(amqp_url, whatsapp_topology=Mode.VERIFY)
    wrong = [finding.subject for finding in await checkup(settings) if not finding.ok]
    assert wrong == ["exchange woragis.notifications", f"queue {WORK}"]


async def test_a_checkup_of_a_healthy_worker_finds_nothing(amqp_url: str) -> None:
    async with running(settings_for(amqp_url)):
        findings = await checkup(settings_for(amqp_url))
    assert [finding for finding in findings if not finding.ok or finding.fix] == []


async def test_missing_permissions_are_said(amqp_url: str, vhost: str, broker_node: Node) -> None:
    user = f"poor-{vhost}"
    await asyncio.to_thread(broker_node.ctl, "add_user", user, "secret")
    nothing = ("^$", "^$", "^$")
    await asyncio.to_thread(broker_node.ctl, "set_permissions", "-p", vhost, user, *nothing)
    poor = amqp_url.replace(amqp_url.split("//")[1].split("@")[0], f"{user}:secret")
    refused = [finding for finding in await checkup(settings_for(poor)) if not finding.ok]
    assert refused
    assert refused[-1].subject == "publishing copies"
    assert "set_permissions" in (refused[-1].fix or "")
    async with running(settings_for(poor), ready=False) as run:
        problem = await run.trouble("permissions")
        assert "secret" not in problem
