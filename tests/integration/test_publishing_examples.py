"""Each program in examples/ is run as it is, and the daemon sends what it published."""

import os
import shutil
import subprocess
import sys
from asyncio import to_thread
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import guard
from tests.support.amqp import connect
from tests.support.daemon import run_daemon
from whatsapp_worker.demo.find import Node
from whatsapp_worker.demo.login import Login
from whatsapp_worker.demo.rabbitmq import PrivateNode, free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE_MODULES = EXAMPLES.parent / "scripts" / "verify-node" / "node_modules"


async def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return await to_thread(
        subprocess.run,
        command,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def publish_in_python(login: Login) -> subprocess.CompletedProcess[str]:
    return await run(sys.executable, "-W", "error", EXAMPLES / "publish.py", RABBITMQ_URL=login.url)


async def test_the_python_example_is_sent_once_however_often_it_is_published(
    amqp_url: str, broker_node: Node, vhost: str, tmp_path: Path, daemon_output: Path
) -> None:
    login = replace(broker_node.login, vhost=vhost)
    async with (
        run_daemon(amqp_url, tmp_path, daemon_output) as daemon,
        connect(amqp_url) as client,
    ):
        await daemon.ready()
        for _ in range(2):
            done = await publish_in_python(login)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        await daemon.reaches('worker_duplicates_suppressed_total{kind="sent_before"}', 1)
        (sent,) = daemon.outbox_entries()
        assert sent["destination"] == "+15550100999"
        assert await client.count("whatsapp.queue.failed") == 0
        await daemon.says('"message_id": "order-12-on-its-way"')


async def test_the_python_example_fails_loudly_where_nobody_takes_the_message(
    amqp_url: str, broker_node: Node, vhost: str
) -> None:
    async with connect(amqp_url) as client, client.channel() as channel:
        await channel.declare_exchange("woragis.notifications", durable=True)
    done = await publish_in_python(replace(broker_node.login, vhost=vhost))
    assert done.returncode == 1
    assert "PublishError" in done.stderr


@pytest.mark.verify  # It needs Node and a package of npm's: `scripts/verify node-example` has both.
async def test_the_node_example_is_sent(amqp_url: str, tmp_path: Path, daemon_output: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    program = shutil.copy(EXAMPLES / "publish.mjs", tmp_path)
    async with connect(amqp_url) as client, client.channel() as channel:
        await channel.declare_exchange("woragis.notifications", durable=True)
    nobody = await run("node", program, RABBITMQ_URL=amqp_url)
    assert nobody.returncode == 1
    assert "no queue took the message" in nobody.stderr
    async with run_daemon(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        done = await run("node", program, RABBITMQ_URL=amqp_url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        (sent,) = await daemon.has_sent(1)
        assert sent["text"] == "Hi Ana, I'm on my way with order #12."
        await daemon.says('"message_id": "order-12-on-its-way"')


@pytest.fixture(scope="module")
def managed(broker_node: Node) -> Iterator[tuple[PrivateNode, int]]:
    """A RabbitMQ with the management plugin, and the plugin's port."""
    assert isinstance(broker_node, PrivateNode), "the image in Docker has no management plugin"
    with guard.allowing_loopback():
        node, (port,) = PrivateNode("managed"), free_ports(1)
        (node._data / "enabled_plugins").write_text("[rabbitmq_management].\n")
        with (node._data / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
        node.__enter__()
    yield node, port
    node.close()


@pytest.mark.parametrize("script", ["publish-curl.sh", "publish-rabbitmqadmin.sh"])
async def test_the_shell_examples_are_sent(
    script: str, managed: tuple[PrivateNode, int], tmp_path: Path, daemon_output: Path
) -> None:
    node, port = managed
    node.add_vhosts(script)
    login = replace(node.login, vhost=script)
    access = {
        "AMQP_USER": login.user,
        "AMQP_PASSWORD": login.password,
        "AMQP_VHOST": login.vhost,
        "MANAGEMENT_URL": f"http://127.0.0.1:{port}",
        "MANAGEMENT_HOST": "127.0.0.1",
        "MANAGEMENT_PORT": str(port),
    }
    nobody = await run(EXAMPLES / script, **access)
    assert nobody.returncode != 0, "there is no exchange yet"
    async with run_daemon(login.url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        done = await run(EXAMPLES / script, **access)
        assert done.returncode == 0, done.stdout + done.stderr
        (sent,) = await daemon.has_sent(1)
        assert sent["text"] == "Hi Ana, I am on my way with order #12."
        await daemon.says('"message_id": "order-12-on-its-way"')
