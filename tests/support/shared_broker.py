"""One RabbitMQ for all workers of a parallel run (pytest-xdist), with a virtual host per test.

A node takes six seconds of a core to start, so one for each worker would keep the tests waiting.
"""

from dataclasses import asdict, replace

import pytest
from xdist.workermanage import WorkerController

from tests.support.sockets import SocketGuard
from whatsapp_worker.demo.find import Node, new_node
from whatsapp_worker.demo.login import Login

KEY = "broker"


class SharedBroker:
    """A pytest plugin of the process that hands out the tests; the workers ask `url_for`.

    Args:
        guard: lets this process reach its own node.
    """

    def __init__(self, guard: SocketGuard) -> None:
        self._guard = guard
        self._node: Node | None = None
        self._vhosts = 0

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker that is about to start where RabbitMQ is."""
        if self._node is None:
            with self._guard.allowing_loopback():
                self._node = new_node("tests", print).__enter__()
        node.workerinput[KEY] = asdict(self._node.login)

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Make the virtual hosts, now that a worker knows how many tests there are."""
        assert self._node is not None
        if not self._vhosts:
            self._vhosts = len(ids)
            self._node.add_vhosts(*map(_vhost, range(self._vhosts)))

    def pytest_unconfigure(self) -> None:
        """End RabbitMQ after the last test."""
        if self._node is not None:
            self._node.close()


def url_for(request: pytest.FixtureRequest) -> str | None:
    """The AMQP URL of this test's own virtual host; None when the run is not parallel."""
    shared = getattr(request.config, "workerinput", {}).get(KEY)
    if shared is None:
        return None
    # All workers collect the same tests in the same order, or xdist refuses to run.
    return replace(Login(**shared), vhost=_vhost(request.session.items.index(request.node))).url


def _vhost(number: int) -> str:
    return f"parallel-{number}"
