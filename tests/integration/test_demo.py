"""The demo itself, on a real RabbitMQ."""

import asyncio
import os
import signal
from io import StringIO
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable

import pytest
from rich.console import Console

from tests.support.eventually import eventually
from whatsapp_worker.demo import run_demo
from whatsapp_worker.demo.find import Node


def leftovers(node: Node, vhost: str) -> list[str]:
    queues = node.ctl("list_queues", "-p", vhost, "name", "--no-table-headers").split()
    exchanges = node.ctl("list_exchanges", "-p", vhost, "name", "--no-table-headers").split()
    return queues + [name for name in exchanges if not name.startswith("amq.")]


def test_shows_every_fate_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, broker_node: Node, vhost: str, amqp_url: str
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", amqp_url)
    out = StringIO()
    assert run_demo(Console(file=out)) == 0, out.getvalue()
    shown = out.getvalue()
    assert "Every message met its fate" in shown
    for word in ("Third time lucky.", "not_on_whatsapp", "worker_jobs_retried_total"):
        assert word in shown
    assert leftovers(broker_node, vhost) == []


def test_says_in_one_sentence_that_rabbitmq_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://somebody:hunter2@127.0.0.1:1/")
    out = StringIO()
    assert run_demo(Console(file=out)) == 1
    failure = [line for line in out.getvalue().splitlines() if line.startswith("The demo failed")]
    assert len(failure) == 1
    assert "127.0.0.1:1" in failure[0]
    assert "hunter2" not in out.getvalue()


def test_cleans_up_when_it_is_told_to_stop_in_the_middle(
    broker_node: Node, vhost: str, amqp_url: str, tmp_path: Path
) -> None:
    demo = Popen(
        [executable, "-m", "whatsapp_worker", "demo"],
        env={**os.environ, "RABBITMQ_URL": amqp_url, "TMPDIR": str(tmp_path)},
        stdout=PIPE,
        stderr=PIPE,
    )
    with demo:
        try:
            asyncio.run(eventually(lambda: leftovers(broker_node, vhost), "its queues", 30))
            demo.send_signal(signal.SIGTERM)
            _, said = demo.communicate(timeout=30)
        finally:
            demo.kill()
    assert demo.returncode != 0
    assert b"Traceback" not in said
    assert leftovers(broker_node, vhost) == []
    assert list(tmp_path.iterdir()) == []
