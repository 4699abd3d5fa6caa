"""MIGRATION.md, tried out: with its own commands, on the queue the Go worker makes (seed 003)."""

import re
import shlex
import subprocess
from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from tests.conftest import guard
from tests.integration.campaign import declare_as_go_worker
from tests.integration.test_cli import command
from tests.support.amqp import DEAD_LETTERS, WORK_QUEUE, Client, connect, envelope
from tests.support.daemon import run_daemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node
from whatsapp_worker.demo.rabbitmq import BrokerError, PrivateNode

MIGRATION = (Path(__file__).parents[2] / "MIGRATION.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", MIGRATION, re.MULTILINE | re.DOTALL)
COMMANDS = {line for block in BLOCKS for line in block.splitlines()}

CONFIG, CHECK = "whatsapp-worker config check", "whatsapp-worker check"
STATUS, LETTERS = "whatsapp-worker status", "whatsapp-worker dlq list"
ENABLE = "rabbitmq-plugins enable rabbitmq_shovel"
COUNT = "rabbitmqctl list_queues -p woragis name messages"
DELETE = "rabbitmqctl delete_queue -p woragis whatsapp.queue"
DELETE_EMPTY = f"{DELETE} --if-empty --if-unused"
(ASIDE,) = (line for line in COMMANDS if " shovel aside " in line)
(BACK,) = (line for line in COMMANDS if " shovel back " in line)
BY_RUN_DAEMON, NEEDS_A_PHONE = "whatsapp-worker run", "whatsapp-worker pair"

FAILS = "+15550100901"
WAITING = f"{WORK_QUEUE}.retry.10m"


def test_every_command_is_tried_here_or_needs_a_phone() -> None:
    tried = {CONFIG, CHECK, STATUS, LETTERS, ENABLE, COUNT, DELETE, DELETE_EMPTY, ASIDE, BACK}
    assert tried | {BY_RUN_DAEMON, NEEDS_A_PHONE} == COMMANDS


async def ours(line: str, *more: str) -> tuple[int, str]:
    """Run a command of whatsapp-worker; return exit code and standard output."""
    code, out, _ = await command(*shlex.split(line)[1:], *more)
    return code, out


async def holds(client: Client, queue: str, count: int, within: float = 20.0) -> None:
    async def so() -> bool:
        return await client.count(queue) == count

    await eventually(so, f"{count} in {queue}", within)


@asynccontextmanager
async def go_worker(client: Client) -> AsyncIterator[None]:
    """Stands for the Go worker as the broker sees it: its declares, one consumer, prefetch 1."""

    async def hang(_: AbstractIncomingMessage) -> None:
        """Hold the first message for ever: it can not be sent."""

    await declare_as_go_worker(client)
    async with client.channel() as channel:
        await channel.set_qos(1)
        queue = await channel.get_queue(WORK_QUEUE, ensure=False)
        await queue.consume(hang)
        yield


@pytest.mark.timeout(150)
async def test_the_change_with_both_workers_running_and_nothing_lost(
    amqp_url: str, tmp_path: Path, daemon_output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", amqp_url)
    monkeypatch.setenv("WHATSAPP_SESSION_PATH", str(tmp_path))
    async with (
        AsyncExitStack() as until_it_is_stopped,
        connect(amqp_url) as client,
        run_daemon(amqp_url, tmp_path, daemon_output) as daemon,
    ):
        await until_it_is_stopped.enter_async_context(go_worker(client))
        await client.publish(
            envelope("one"), envelope("' OR 1=1 --"), envelope("I'm on my way"), message_id=None
        )
        assert (await ours(CONFIG))[0] == 0
        await daemon.live()
        where = ("--url", daemon.process.url)
        await daemon.says("exclusive")
        assert await daemon.status("/readyz", 503)
        assert (await ours(STATUS, *where))[0] == 1
        assert "somebody else's, used as it is" in (await ours(CHECK))[1]
        assert daemon.outbox_entries() == []

        await until_it_is_stopped.aclose()
        sent = await daemon.has_sent(2, within=90)
        assert [each["text"] for each in sent] == ["one", "I'm on my way"]
        assert (await ours(STATUS, *where))[0] == 0
        await holds(client, DEAD_LETTERS, 1)
        assert "content_policy" in (await ours(LETTERS))[1]
        with pytest.raises(ChannelAccessRefused):  # It can not come back meanwhile.
            async with go_worker(client):
                pass


@pytest.fixture
def node(broker_node: Node) -> Iterator[PrivateNode]:
    """A RabbitMQ whose plugins may be changed, with the document's virtual host."""
    assert isinstance(broker_node, PrivateNode), "the plugins of a RabbitMQ in Docker are its own"
    with guard.allowing_loopback():
        node = PrivateNode("woragis")
        node.__enter__()
    yield node
    node.close()


async def operator(node: PrivateNode, line: str) -> str:
    """Run one of RabbitMQ's commands against a node."""
    program, *arguments = shlex.split(line)
    if program == "rabbitmqctl":
        return await to_thread(node.ctl, *arguments)
    return await to_thread(_plugins, node, program, *arguments)


def _plugins(node: PrivateNode, program: str, *arguments: str) -> str:
    return subprocess.run(
        [node._scripts / program, *arguments],
        env=node._environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.timeout(150)
async def test_to_a_quorum_queue_and_all_the_way_back(
    node: PrivateNode, tmp_path: Path, daemon_output: Path
) -> None:
    url = node.login.url
    settings = {"SANDBOX_RULES": f'{{"{FAILS}": {{"fail": 1}}}}', "RETRY_DELAYS": "10m"}
    async with connect(url) as client:
        await declare_as_go_worker(client)
        await client.publish(envelope("before"))
        with pytest.raises(BrokerError, match="not empty"):
            await operator(node, DELETE_EMPTY)
        async with run_daemon(url, tmp_path, daemon_output, **settings) as daemon:
            await daemon.has_sent(1)
            with pytest.raises(BrokerError, match="in use"):
                await operator(node, DELETE_EMPTY)
            assert await daemon.stop() == 0
        await operator(node, DELETE_EMPTY)
        async with run_daemon(url, tmp_path, daemon_output, **settings) as daemon:
            await daemon.ready()
            with pytest.raises(ChannelPreconditionFailed):  # Now it is ours.
                await declare_as_go_worker(client)
            await client.publish(envelope("later", FAILS))
            await holds(client, WAITING, 1)
            assert await daemon.stop() == 0

        await client.publish(*(envelope(f"waiting {number}") for number in range(50)))
        await operator(node, ENABLE)
        await operator(node, ASIDE)
        await holds(client, f"{WORK_QUEUE}.aside", 50)
        await eventually(lambda: _empty(node), "list_queues shows 0")
        await operator(node, DELETE)
        await declare_as_go_worker(client)  # The Go worker starts.
        await operator(node, BACK)
        await holds(client, WORK_QUEUE, 50)
        bodies = b"".join(message.body for message in await client.drain(WORK_QUEUE))
        assert all(f"waiting {number}".encode() in bodies for number in range(50))
        assert await client.count(WAITING) == 1  # For the queue of that name, whoever made it.


async def _empty(node: PrivateNode) -> bool:
    listed = (line.split() for line in (await operator(node, COUNT)).splitlines())
    return dict(pair for pair in listed if len(pair) == 2)[WORK_QUEUE] == "0"
