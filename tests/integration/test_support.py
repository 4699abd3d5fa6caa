"""The tests' own tools: a broker that can be taken away, virtual hosts, an ordinary client."""

from asyncio import to_thread
from dataclasses import replace
from urllib.request import urlopen

import aio_pika
import pytest

from tests.support.amqp import connect
from tests.support.eventually import eventually
from tests.support.sockets import SocketForbidden
from whatsapp_worker.demo.find import Node
from whatsapp_worker.demo.rabbitmq import BrokerError


async def test_every_test_has_an_empty_virtual_host(amqp_url: str, vhost: str) -> None:
    async with connect(amqp_url) as client:
        assert await client.count("jobs") is None
        async with client.channel() as channel:
            await channel.declare_queue("jobs", durable=True)
        await client.publish(b"one", {"two": 2}, exchange="", routing_key="jobs")
        assert await client.count("jobs") == 2
        assert [message.body for message in await client.drain("jobs")] == [b"one", b'{"two": 2}']
        assert await client.count("jobs") == 0


async def test_publishing_to_nowhere_is_not_taken_for_success(amqp_url: str) -> None:
    async with connect(amqp_url) as client:
        with pytest.raises(aio_pika.exceptions.PublishError):
            await client.publish(b"lost", exchange="", routing_key="no such queue")


async def test_a_node_of_ones_own_keeps_its_data_over_sigkill_and_stop(own_node: Node) -> None:
    async with connect(own_node.login.url) as client:
        async with client.channel() as channel:
            await channel.declare_queue("jobs", durable=True, arguments={"x-queue-type": "quorum"})
        await client.publish(b"kept", exchange="", routing_key="jobs")
        await to_thread(own_node.kill)
        assert not own_node.login.works()
    for _ in range(2):
        await to_thread(own_node.start)
        async with connect(own_node.login.url) as client:
            await eventually(lambda: client.count("jobs"), "the message is back")
        await to_thread(own_node.stop)


def test_login_tells_what_is_wrong(broker_node: Node) -> None:
    assert broker_node.login.works()
    assert not replace(broker_node.login, password="wrong").works()
    assert not replace(broker_node.login, vhost="not made").works()
    assert not replace(broker_node.login, port=1).works()
    with pytest.raises(BrokerError, match="no-such-command"):
        broker_node.ctl("no-such-command")


def test_even_an_integration_test_stays_on_this_machine() -> None:
    with pytest.raises(SocketForbidden):
        urlopen("http://192.0.2.1/")  # RFC 5737: nobody's address.
    with pytest.raises(SocketForbidden):
        urlopen("http://example.invalid/")
