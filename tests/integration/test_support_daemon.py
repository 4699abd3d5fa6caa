"""The tests' own daemon: started, watched, stopped."""

from pathlib import Path

import pytest

from tests.support.amqp import connect, envelope
from tests.support.daemon import run_daemon
from whatsapp_worker.demo.daemon import Daemon, DaemonError

SUCCESS = 'worker_jobs_processed_total{status="success",worker="whatsapp-worker"}'


async def test_a_daemon_sends_to_its_outbox_tells_its_metrics_and_stops_with_zero(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    async with run_daemon(amqp_url, tmp_path, daemon_output) as daemon, connect(amqp_url) as client:
        await daemon.ready()
        await daemon.live()
        await client.publish(envelope("one"), envelope("two"))
        assert [each["text"] for each in await daemon.has_sent(2)] == ["one", "two"]
        assert await daemon.stop() == 0
        assert await daemon.status("/livez", 0)
    async with run_daemon(amqp_url, tmp_path, daemon_output) as again, connect(amqp_url) as client:
        await again.ready()
        await client.publish(envelope("three"))
        assert len(await again.has_sent(3)) == 3
        again.kill()
        assert await again.exit_code() == -9


async def test_what_a_daemon_counts_can_be_asked(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    async with run_daemon(amqp_url, tmp_path, daemon_output) as daemon, connect(amqp_url) as client:
        await daemon.ready()
        assert await daemon.metric(SUCCESS) == 0
        await client.publish(envelope())
        await daemon.reaches(SUCCESS, 1)
        assert await daemon.metric("no_such_metric") == 0
        assert PHONE_DIGITS not in daemon.printed


PHONE_DIGITS = "15550100999"


def test_a_daemon_that_ends_is_not_waited_for(tmp_path: Path, daemon_output: Path) -> None:
    settings = {"WHATSAPP_PREFETCH_COUNT": "many", "WHATSAPP_SESSION_PATH": str(tmp_path)}
    with Daemon(settings, daemon_output / "wrong-setting.log") as daemon:
        with pytest.raises(DaemonError, match="exit code 78") as failure:
            daemon.wait_until_ready()
        assert "WHATSAPP_PREFETCH_COUNT" in str(failure.value)
        assert daemon.wait() == 78


def test_a_daemon_without_a_broker_is_not_ready_and_stops_when_told(
    tmp_path: Path, daemon_output: Path
) -> None:
    settings = {
        "RABBITMQ_URL": "amqp://127.0.0.1:1/",
        "WHATSAPP_SENDER": "sandbox",
        "WHATSAPP_SESSION_PATH": str(tmp_path),
    }
    with Daemon(settings, daemon_output / "no-broker.log") as daemon:
        daemon.wait_for(lambda: daemon.get("/livez")[0] == 200, "it lived")
        with pytest.raises(DaemonError, match=r"not within 0\.2 seconds: the worker was ready"):
            daemon.wait_until_ready(within=0.2)
        with pytest.raises(DaemonError, match="still runs"):
            daemon.wait(within=0.1)
        assert daemon.stop() == 0
