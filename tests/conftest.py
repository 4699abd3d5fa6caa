"""Fixtures and rules of all tests."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import hypothesis
import pytest

from tests.support.ledger import Bench
from tests.support.shared_broker import SharedBroker, url_for
from tests.support.sockets import SocketGuard
from whatsapp_worker.demo.find import Node, new_node
from whatsapp_worker.demo.rabbitmq import BrokerError

TALK_TO_A_BROKER = ("integration", "acceptance", "chaos")
"""Directories whose tests may use 127.0.0.1 and are left out by `make test-fast`."""

OUR_SETTINGS = ("RABBITMQ_", "WHATSAPP_", "SANDBOX_", "RETRY_", "HTTP_", "LOG_", "ENV", "FAILPOINT")
VHOSTS_AT_A_TIME = 16

guard = SocketGuard()

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1_000)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    guard.install()
    if config.getoption("numprocesses", None):  # Of pytest-xdist; not so in its workers.
        config.pluginmanager.register(SharedBroker(guard))
    # `timeout` and CI end us with SIGTERM: leave as after Ctrl-C, so that no broker stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.relative_to(Path(__file__).parent).parts[0] in TALK_TO_A_BROKER:
        item.add_marker(pytest.mark.integration)


@pytest.hookimpl(trylast=True)  # After pytest-randomly has shuffled.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sockets are off, except for 127.0.0.1 where a test is marked integration or loopback."""
    if request.node.get_closest_marker("integration") or request.node.get_closest_marker(
        "loopback"
    ):
        with guard.allowing_loopback():
            yield
    else:
        yield


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings are not for the tests."""
    for name in os.environ:
        if name.startswith(OUR_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def daemon_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one directory that keeps what all daemons of this run print."""
    return tmp_path_factory.mktemp("daemon-output")


def start_node(name: str) -> Iterator[Node]:
    """A node of our own: never one that was found, as tests fill, stop and kill it."""
    with ExitStack() as opened:
        with guard.allowing_loopback():
            try:
                node = new_node(name, print)
                opened.enter_context(node)
            except BrokerError as error:
                pytest.fail(str(error))
        yield node


@pytest.fixture(scope="session")
def broker_node() -> Iterator[Node]:
    """The RabbitMQ that all tests share; leave it running."""
    yield from start_node("tests")


@pytest.fixture(scope="session")
def _vhosts(broker_node: Node) -> Iterator[str]:
    """Names of virtual hosts that nobody has used, made by the batch: each call takes 0.4 s."""

    def fresh() -> Iterator[str]:
        for batch in count():
            names = [f"test-{batch}-{number}" for number in range(VHOSTS_AT_A_TIME)]
            broker_node.add_vhosts(*names)
            yield from names

    return fresh()


@pytest.fixture
def vhost(_vhosts: Iterator[str]) -> str:
    """The name of an empty virtual host of `broker_node` for this test alone."""
    return next(_vhosts)


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> str:
    """The URL of this test's own virtual host."""
    if shared := url_for(request):
        return shared
    node: Node = request.getfixturevalue("broker_node")
    return replace(node.login, vhost=request.getfixturevalue("vhost")).url


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A RabbitMQ for this test alone, which may stop, kill and start it (5 s to start)."""
    yield from start_node("chaos")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """An open ledger, and what to ask of it."""
    bench = Bench(tmp_path)
    await bench.open()
    yield bench
    await bench.ledger.close()
