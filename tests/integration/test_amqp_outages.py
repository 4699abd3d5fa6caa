"""Connections that break, are refused or hang."""

import asyncio
import logging
import random
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest

from tests.integration.amqp_support import (
    JOB,
    WORK,
    at_peace,
    running,
    settings_for,
)
from tests.support.amqp import connect
from tests.support.eventually import eventually
from whatsapp_worker.amqp import session, supervisor
from whatsapp_worker.amqp.checkup import checkup
from whatsapp_worker.amqp.outbound import publishing
from whatsapp_worker.demo.find import Node
from whatsapp_worker.errors import (
    ErrorType,
    Misconfigured,
    PauseReason,
    Transient,
    Unavailable,
)
from whatsapp_worker.outcome import Retry

RETRY = Retry(JOB, Transient(ErrorType.NETWORK, "no route"), 1, 0.3, 0.3)


async def cut(node: Node, vhost: str) -> None:
    await asyncio.to_thread(node.ctl, "close_all_connections", "--vhost", vhost, "test")


@asynccontextmanager
async def silent_peer() -> AsyncIterator[int]:
    """A server that accepts, and says nothing."""
    gone = asyncio.Event()

    async def accept(_: StreamReader, writer: StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        gone.set()
        server.close()


async def test_a_closed_connection_is_replaced_and_its_message_comes_again(
    amqp_url: str, vhost: str, broker_node: Node
) -> None:
    async with running(settings_for(amqp_url)) as run:
        async with connect(amqp_url) as client:
            await client.publish(b"1", b"2")
        held = await run.next()
        await cut(broker_node, vhost)
        await eventually(lambda: held.receipt.lost, "the loss is noticed")
        assert run.lost == 1
        assert PauseReason.PUBLISHER in run.reported
        await run.broker.ack(held)
        await run.broker.give_back(held)  # Both are quiet no-ops.
        await run.consuming()
        again = await run.next()
        assert (again.body, again.redelivered) == (b"1", True)
        await run.broker.ack(again)
        assert await run.take(1) == [b"2"]
        assert run.paused == {}


async def test_what_nobody_took_of_a_dead_session_is_dropped(
    amqp_url: str, vhost: str, broker_node: Node
) -> None:
    async with running(settings_for(amqp_url)) as run:
        async with connect(amqp_url) as client:
            await client.publish(b"1", b"2")
            await at_peace(lambda: client.count(WORK), 1)
        await cut(broker_node, vhost)
        await eventually(lambda: run.lost == 1, "the loss is noticed")
        await run.consuming()
        assert await run.take(2) == [b"1", b"2"]


async def test_a_pause_outlasts_a_lost_connection(
    amqp_url: str, vhost: str, broker_node: Node
) -> None:
    async with running(settings_for(amqp_url)) as run:
        await run.broker.pause()
        await cut(broker_node, vhost)
        await eventually(lambda: PauseReason.PUBLISHER in run.reported)
        await eventually(lambda: run.broker.status.problem is None, "connected")
        assert run.broker.status.connected
        assert not run.broker.status.consuming
        await run.broker.resume()
        assert run.broker.status.consuming


async def test_a_wrong_password_is_said_and_never_shown(
    amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = amqp_url.split("//")[1].split("@")[0]
    wrong = amqp_url.replace(login, "guest:hunter2")
    async with running(settings_for(wrong), ready=False) as run:
        problem = await run.trouble("refused the user name or the password")
        assert "RABBITMQ_PASSWORD" in problem
    assert "hunter2" not in caplog.text
    assert "hunter2" not in problem
    with pytest.raises(Misconfigured, match="user name or the password"):
        async with publishing(settings_for(wrong)):
            pass
    (finding,) = await checkup(settings_for(wrong))
    assert not finding.ok


async def test_a_missing_virtual_host_is_said(amqp_url: str) -> None:
    async with running(settings_for(amqp_url + "-not-made"), ready=False) as run:
        await run.trouble("not into the virtual host")


async def test_no_broker_is_one_line_and_not_one_per_try(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.001)
    tries = []
    dial = session.dial

    async def counting(*args: object) -> object:
        tries.append(args)
        return await dial(*args)  # type: ignore[arg-type]  # Passed through.

    monkeypatch.setattr(session, "dial", counting)
    settings = settings_for("amqp://guest:guest@127.0.0.1:1/x")
    async with running(settings, ready=False) as run:
        await run.trouble("nothing answers at")
        await eventually(lambda: len(tries) >= 10, "ten tries")
    lines = [record for record in caplog.records if "nothing answers" in record.getMessage()]
    assert len(lines) == 1
    assert [r.name for r in caplog.records if r.name.startswith(("aiormq", "aio_pika"))] == []


async def test_an_unreachable_broker_is_unavailable_to_commands() -> None:
    with pytest.raises(Unavailable, match="nothing answers"):
        async with publishing(settings_for("amqp://guest:guest@127.0.0.1:1/x")):
            pass


async def test_a_peer_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.3)
    async with silent_peer() as port:
        settings = settings_for(f"amqp://guest:guest@127.0.0.1:{port}/x")
        async with running(settings, ready=False) as run:
            await run.trouble("did not answer")


async def test_publishing_without_a_connection_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, amqp_url: str
) -> None:
    async with running(settings_for(amqp_url)) as run, connect(amqp_url) as client:
        await client.publish(b"1")
        delivery = await run.next()
        await run.broker.close()
        monkeypatch.setattr("whatsapp_worker.amqp.publisher.PUBLISH_SECONDS", 0.2)
        with pytest.raises(Unavailable):
            await run.broker.retry(delivery, RETRY)
        await run.broker.ack(delivery)
        await run.broker.give_back(delivery)


async def test_an_ordinary_publisher_publishes_confirmed(amqp_url: str) -> None:
    settings = settings_for(amqp_url)
    async with running(settings) as run, publishing(settings) as outbound:
        await outbound.publish(b"{}", message_id="m1")
        delivery = await run.next()
        assert (delivery.body, delivery.message_id) == (b"{}", "m1")
        assert delivery.content_type == "application/json"
        assert delivery.timestamp is not None
        await run.broker.ack(delivery)


async def test_publishing_into_nothing_says_what_is_missing(amqp_url: str) -> None:
    settings = settings_for(amqp_url)
    async with publishing(settings) as outbound:
        with pytest.raises(Misconfigured, match=r"woragis\.notifications"):
            await outbound.publish(b"{}")  # No exchange.
    async with running(settings):
        pass
    unbound = settings_for(amqp_url, whatsapp_routing_key="nowhere")
    async with publishing(unbound) as outbound:
        with pytest.raises(Misconfigured, match="nowhere"):
            await outbound.publish(b"{}")


class Relay:
    """Between the worker and the broker, to reset connections without a goodbye."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writers: set[StreamWriter] = set()

    def reset(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers |= {writer, far_writer}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pipe(reader, far_writer))
            tasks.create_task(self.pipe(far_reader, writer))
        self.writers -= {writer, far_writer}

    async def pipe(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def relayed(amqp_url: str) -> AsyncIterator[tuple[Relay, str]]:
    port = amqp_url.rsplit(":", 1)[1].split("/")[0]
    relay = Relay(int(port))
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    try:
        yield relay, amqp_url.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()


async def test_it_ends_at_once_however_bad_the_moment(amqp_url: str) -> None:
    chance = random.Random(7)
    async with relayed(amqp_url) as (relay, url):
        for _ in range(40):
            async with running(settings_for(url), ready=chance.random() < 0.5) as run:
                if chance.random() < 0.3:
                    await run.broker.pause()
                relay.reset()
                await asyncio.sleep(chance.random() * 0.05)
                if chance.random() < 0.5:
                    await run.broker.resume()
                began = monotonic()
                await run.broker.stop()
                await run.broker.close()
                assert monotonic() - began < 3


async def test_nothing_is_lost_over_many_resets(amqp_url: str) -> None:
    bodies = [b"%d" % number for number in range(60)]
    async with relayed(amqp_url) as (relay, url), running(settings_for(url)) as run:
        async with connect(amqp_url) as client:
            await client.publish(*bodies)
        seen: list[bytes] = []
        while len(set(seen)) < len(bodies):
            delivery = await run.next()
            seen.append(delivery.body)
            await run.broker.ack(delivery)
            if len(seen) % 10 == 0:
                relay.reset()
        first_times = list(dict.fromkeys(seen))
        assert first_times == bodies


async def test_an_alarm_stops_publishing_but_not_acks(own_node: Node) -> None:
    settings = settings_for(own_node.login.url)
    async with running(settings) as run, connect(own_node.login.url) as client:
        await client.publish(b"1", b"2", b"3")
        first = await run.next()
        own_node.ctl("set_vm_memory_high_watermark", "0.00001")
        with pytest.raises(Unavailable) as refused:
            await run.broker.retry(first, RETRY)
        assert refused.value.reason is PauseReason.PUBLISHER
        await eventually(lambda: "alarms" in run.paused.get(PauseReason.PUBLISHER, ""), "paused")
        await run.broker.ack(first)
        second = await run.next()
        await run.broker.ack(second)
        third = await run.next()
        assert (second.body, third.body) == (b"2", b"3")
        assert second.receipt.ack_proven
        own_node.ctl("set_vm_memory_high_watermark", "0.4")
        await eventually(lambda: not run.paused, "publishing again", 30)
        await run.broker.retry(third, RETRY)
        await run.broker.ack(third)
        assert (await run.next()).attempt == 1
