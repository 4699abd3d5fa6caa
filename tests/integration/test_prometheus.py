"""A real Prometheus scrapes the real daemon, and its alerts come and go.

Needs Debian's prometheus, which scripts/verify installs; `make test` leaves it out (`verify`).
"""

import json
import re
import subprocess
from asyncio import to_thread
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.amqp import DEAD_LETTERS, WORK_QUEUE, connect, envelope
from tests.support.daemon import run_daemon
from tests.support.eventually import eventually
from whatsapp_worker.cli import app
from whatsapp_worker.demo.rabbitmq import free_ports

pytestmark = pytest.mark.verify

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
SEED_METRICS = (
    "worker_jobs_processed_total",
    "worker_job_duration_seconds_count",
    "worker_jobs_failed_total",
    "worker_jobs_retried_total",
    "queue_depth",
    "queue_dlq_size",
)
ALERT = "WhatsAppWorkerDeadLetters"


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def ready(self) -> None:
        """Return when it answers."""
        await eventually(lambda: to_thread(self._answers), "Prometheus is ready", 30)

    async def shows(self, query: str, value: float) -> None:
        """Return when a query finds one series, and its value is this."""

        async def found() -> bool:
            result = (await self._ask("query", query=query))["result"]
            return [float(each["value"][1]) for each in result] == [value]

        await eventually(found, f"{query} is {value:g}", 20)

    async def alert_becomes(self, state: str | None) -> None:
        """Return when the alert on dead letters is "pending", "firing", or neither (None)."""

        async def became() -> bool:
            return await self.alert() == state

        await eventually(became, f"{ALERT} is {state}", 20)

    async def alert(self) -> str | None:
        """The state of the alert on dead letters."""
        alerts = (await self._ask("alerts"))["alerts"]
        return next((a["state"] for a in alerts if a["labels"]["alertname"] == ALERT), None)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async def _ask(self, path: str, **parameters: str) -> Any:
        def ask() -> Any:
            query = urlencode(parameters)
            with urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=5) as answer:
                return json.load(answer)["data"]

        return await to_thread(ask)


def configure(directory: Path, target: str) -> Path:
    """Copy our configuration, with the daemon's address and in seconds instead of minutes.

    Only times become shorter: what is scraped, under which job, and every expression stay.
    """
    rules = (DEPLOY / "rules.yml").read_text()
    (directory / "rules.yml").write_text(re.sub(r"\bfor: \d+m", "for: 2s", rules))
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Prometheus]]:
    """Start Prometheus on a target; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "prometheus.log"

    def run(target: str) -> Prometheus:
        (port,) = free_ports(1)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={configure(tmp_path, target)}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        started.append(process)
        return Prometheus(port)

    yield run
    for process in started:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


async def dlq(*arguments: str) -> None:
    """Run `whatsapp-worker dlq`, as a person does."""
    done = await to_thread(CliRunner().invoke, app, ["dlq", *arguments])
    assert done.exit_code == 0, done.output


@pytest.mark.timeout(120)  # 20 s on a quiet machine; half of it is RabbitMQ's start.
async def test_prometheus_sees_the_worker_and_an_alert_fires_and_resolves(
    amqp_url: str,
    tmp_path: Path,
    daemon_output: Path,
    start: Callable[[str], Prometheus],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RABBITMQ_URL", amqp_url)
    async with run_daemon(amqp_url, tmp_path, daemon_output) as daemon, connect(amqp_url) as client:
        await daemon.ready()
        prometheus = start(daemon.process.url.removeprefix("http://"))
        await prometheus.ready()

        await prometheus.shows('up{job="whatsapp-worker"}', 1)
        for name in SEED_METRICS:
            await prometheus.shows(f"count(count by (__name__) ({name}))", 1)
        await prometheus.shows(f'queue_depth{{queue_name="{WORK_QUEUE}"}}', 0)
        assert await prometheus.alert() is None

        await client.publish(envelope(destination="nobody"), envelope())
        await prometheus.shows(f'queue_dlq_size{{queue_name="{DEAD_LETTERS}"}}', 1)
        await prometheus.shows('worker_jobs_failed_total{error_type="invalid_phone"}', 1)
        await prometheus.shows('worker_jobs_processed_total{status="success"}', 1)
        await prometheus.alert_becomes("firing")

        await dlq("drop", "--yes")
        await prometheus.alert_becomes(None)
        assert await daemon.stop() == 0
