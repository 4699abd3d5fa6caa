"""Fixtures of the tests with a real RabbitMQ."""

from pathlib import Path

import pytest

from tests.integration.campaign import seeded
from tests.integration.fault_campaign import Campaign, Start
from whatsapp_worker.demo.find import Node


@pytest.fixture
def campaign(broker_node: Node, vhost: str, tmp_path: Path, daemon_output: Path) -> Start:
    """Prepare a campaign in this test's virtual host, or in another one of another node."""

    def start(node: Node = broker_node, name: str = vhost, **settings: str) -> Campaign:
        return Campaign.prepare(node, name, tmp_path / name, daemon_output, seeded(), **settings)

    return start
