"""How the daemon begins, waits, and ends."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from tests.integration.campaign import (
    Publisher,
    Rules,
    locked_ledger,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.gate import Gate, Way, gate
from tests.integration.messages import Planner
from tests.integration.reckoning import ledger
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.daemon import PASSED_ON
from whatsapp_worker.demo.find import Node

WORKS = "the connection to RabbitMQ works"
END_SECONDS = 10.0
"""How long it may take to stop when RabbitMQ is away (facts: fault test 10)."""


@pytest.fixture
async def door(broker_node: Node) -> AsyncIterator[Gate]:
    """The way to RabbitMQ, shut at first."""
    async with gate(broker_node.login.port) as opened:
        yield opened


@pytest.fixture
def through(door: Gate, broker_node: Node, vhost: str) -> str:
    """The AMQP URL that leads through the door."""
    return replace(broker_node.login, vhost=vhost, port=door.port).url


# RabbitMQ away ----------------------------------------------------------------------------------


async def test_without_rabbitmq_it_lives_and_waits_and_then_works(
    door: Gate, through: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    async with worker(through, tmp_path, daemon_output) as daemon:
        await daemon.live()
        await daemon.says("nothing answers at")
        assert await daemon.status("/livez", 200)
        assert await daemon.status("/readyz", 503)
        code, health = await daemon.get("/healthz")
        assert code == 503
        assert json.loads(health)["checks"][0]["name"] == "rabbitmq"
        assert (await daemon.get("/metrics"))[0] == 200
        await door.set(Way.OPEN)
        await daemon.ready()
        good = planner.good()
        await Publisher(amqp_url).publish([good])
        await sent(daemon, 1)
        assert texts_of(daemon) == [good.text]
        assert await daemon.stop() == 0


async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    door: Gate, through: str, tmp_path: Path, daemon_output: Path
) -> None:
    await door.set(Way.SLAM)
    async with worker(through, tmp_path, daemon_output) as daemon:
        await eventually(lambda: door.came >= 6, "three tries of each connection", 30)
        assert daemon.printed.count('"level": "WARNING", "logger": "whatsapp_worker.amqp') == 1
        assert "paused (publisher)" not in daemon.printed
        await door.set(Way.OPEN)
        await daemon.ready()
        await daemon.says(WORKS)
        assert daemon.printed.count(WORKS) == 1
        assert daemon.printed.count('"level": "WARNING", "logger": "whatsapp_worker.amqp') == 1
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.printed


async def test_a_wrong_password_is_said_and_not_shown(
    broker_node: Node, vhost: str, tmp_path: Path, daemon_output: Path
) -> None:
    password = f"wrong-{uuid4().hex}"
    url = replace(broker_node.login, vhost=vhost, password=password).url
    async with worker(url, tmp_path, daemon_output) as daemon:
        refused = "refused the user name or the password"
        await eventually(lambda: daemon.printed.count(refused) == 1, refused, 45)
        assert "RABBITMQ_PASSWORD" in daemon.printed
        assert await daemon.status("/livez", 200)
        assert await daemon.status("/readyz", 503)
        said = "".join([(await daemon.get(path))[1] for path in ("/healthz", "/readyz")])
        assert refused in said
        assert password not in daemon.printed + said
        assert await daemon.stop() == 0


@pytest.mark.parametrize("way", [Way.SHUT, Way.SLAM, Way.SILENT])
async def test_it_stops_in_time_while_it_tries_to_connect(
    way: Way, door: Gate, through: str, tmp_path: Path, daemon_output: Path
) -> None:
    await door.set(way)
    async with worker(through, tmp_path, daemon_output) as daemon:
        await daemon.live()
        if way is not Way.SHUT:
            await eventually(lambda: door.came >= 2, "both connections are being made")
        await _stops_in_time(daemon)


@pytest.mark.parametrize("way", [Way.SHUT, Way.SILENT])
async def test_it_stops_in_time_when_rabbitmq_went_away(
    way: Way, door: Gate, through: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    rules = Rules(tmp_path / "rules.json")
    rules.set(latency=1)
    await door.set(Way.OPEN)
    async with worker(through, tmp_path, daemon_output, SANDBOX_RULES=rules.setting) as daemon:
        await daemon.ready()
        good = planner.good()
        await Publisher(amqp_url).publish([good])
        await eventually(lambda: _states(tmp_path) == {"SENDING"}, "a send has begun")
        await door.set(way)
        await eventually(lambda: daemon.status("/readyz", 503))
        await _stops_in_time(daemon)
        assert texts_of(daemon) == [good.text]
    rules.set()
    async with worker(amqp_url, tmp_path, daemon_output, SANDBOX_RULES=rules.setting) as daemon:
        await daemon.ready()
        await daemon.says("it was sent before")
        assert await daemon.stop() == 0
        assert texts_of(daemon) == [good.text]


@pytest.mark.parametrize("way", [Way.SHUT, Way.HOLE])
async def test_it_stops_in_time_with_a_retry_that_can_not_be_published_and_begins_nothing(
    way: Way, door: Gate, through: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    rules = Rules(tmp_path / "rules.json")
    rules.set(latency=1, fail=1)
    settings = {"SANDBOX_RULES": rules.setting, "WHATSAPP_PREFETCH_COUNT": "3"}
    await door.set(Way.OPEN)
    async with worker(through, tmp_path, daemon_output, **settings) as daemon:
        await daemon.ready()
        publisher = Publisher(amqp_url)
        await publisher.publish([planner.good(), planner.good(), planner.good()])
        await eventually(lambda: _states(tmp_path) == {"SENDING"}, "a send has begun")
        await door.set(way)
        await _stops_in_time(daemon)
        assert _states(tmp_path) == {"FAILED"}
    rules.set()
    async with worker(amqp_url, tmp_path, daemon_output, **settings) as daemon:
        await sent(daemon, 3)
        assert await daemon.stop() == 0
        assert sorted(texts_of(daemon)) == sorted(each.text for each in publisher.confirmed)


async def _stops_in_time(daemon: RunningDaemon) -> None:
    before = monotonic()
    assert await daemon.stop(END_SECONDS) == 0
    assert monotonic() - before < END_SECONDS
    assert "Traceback" not in daemon.printed


# What an operator has to change -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """A daemon that did not get far."""

    code: int
    printed: str


@pytest.fixture
def ends(daemon_output: Path, tmp_path: Path) -> Callable[..., Ended]:
    """Run a daemon that is to end by itself."""

    def run(**settings: str) -> Ended:
        output = daemon_output / f"daemon-{uuid4().hex[:12]}.log"
        defaults = {
            "RABBITMQ_URL": "amqp://somebody:secret-4711@127.0.0.1:1/nowhere",
            "WHATSAPP_SENDER": "sandbox",
            "WHATSAPP_SESSION_PATH": str(tmp_path / "session"),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "ENV": "production",
        }
        inherited = {name: v for name, v in os.environ.items() if name.startswith(PASSED_ON)}
        with output.open("wb") as file:
            done = subprocess.run(
                [sys.executable, "-m", "whatsapp_worker", "run"],
                env={**inherited, **defaults, **settings},
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=45,
                check=False,
            )
        printed = output.read_text()
        assert "Traceback" not in printed
        assert "secret-4711" not in printed
        return Ended(done.returncode, printed)

    return run


def test_wrong_settings_are_listed_a_line_each(ends: Callable[..., Ended]) -> None:
    wrong = {
        "WHATSAPP_PREFETCH_COUNT": "-77",
        "RETRY_DELAYS": "sometimes",
        "MAX_ATTEMPTS": "many",
        "RABBITMQ_URL": "http://somebody:secret-4711@127.0.0.1/",
    }
    ended = ends(**wrong)
    assert ended.code == os.EX_CONFIG
    lines = ended.printed.splitlines()
    for name, value in wrong.items():
        (line,) = (line for line in lines if name in line)
        assert value not in line


def test_wrong_sandbox_rules_end_it_in_one_line(ends: Callable[..., Ended]) -> None:
    ended = ends(SANDBOX_RULES='{"*": {"latency": "tok-long"}}')
    assert ended.code == os.EX_CONFIG
    assert ended.printed.count("SANDBOX_RULES:") == 1
    assert "tok-long" not in ended.printed


def test_a_port_in_use_is_a_wrong_setting(ends: Callable[..., Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = ends(HTTP_PORT=str(port))
    assert ended.code == os.EX_CONFIG
    (line,) = (line for line in ended.printed.splitlines() if "HTTP_PORT" in line)
    assert json.loads(line)["level"] == "CRITICAL"


@pytest.mark.parametrize("case", ["path is a file", "ledger is a directory", "ledger is no ledger"])
def test_a_session_directory_that_can_not_be_used_is_a_wrong_setting(
    case: str, tmp_path: Path, ends: Callable[..., Ended]
) -> None:
    session = tmp_path / "session"
    match case:
        case "path is a file":
            session.write_text("")
        case "ledger is a directory":
            (session / "ledger.db").mkdir(parents=True)
        case _:
            session.mkdir()
            (session / "ledger.db").write_bytes(b"something else " * 1000)
    ended = ends()
    assert ended.code == os.EX_CONFIG
    (line,) = (line for line in ended.printed.splitlines() if "CRITICAL" in line)
    assert str(session) in line


async def test_a_second_daemon_on_a_session_directory_says_who_holds_it(
    amqp_url: str, tmp_path: Path, daemon_output: Path, ends: Callable[..., Ended]
) -> None:
    async with worker(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        ended = await asyncio.to_thread(ends)
        assert ended.code == os.EX_TEMPFAIL
        (line,) = (line for line in ended.printed.splitlines() if "CRITICAL" in line)
        assert f"process {daemon.process.pid} on " in line
        assert await daemon.status("/readyz", 200)
        assert await daemon.stop() == 0


# The ledger fails -------------------------------------------------------------------------------


async def test_a_ledger_that_fails_pauses_the_work_until_it_is_back(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    publisher = Publisher(amqp_url)
    slow = "+15550101234"
    rules = Rules(tmp_path / "rules.json", {slow: {"latency": 0.5}})
    paused = 'worker_paused{reason="ledger"}'
    async with (
        worker(amqp_url, tmp_path, daemon_output, SANDBOX_RULES=rules.setting) as daemon,
        connect(amqp_url) as client,
    ):
        await daemon.ready()
        await publisher.publish([planner.good(), planner.keyless()])
        await sent(daemon, 2)
        with locked_ledger(tmp_path):
            await publisher.publish([planner.good(), planner.keyless(), planner.failing(0)])
            await eventually(lambda: daemon.metric(paused), "a pause")
            assert await daemon.status("/readyz", 503)
            assert await daemon.status("/livez", 200)
            assert daemon.printed.count("paused (ledger)") == 1
            assert len(texts_of(daemon)) == 2
        await sent(daemon, 5)
        await daemon.ready()
        # In mid-send: what was sent is committed as soon as that is possible, and not sent again.
        await publisher.publish([planner.good(destination=slow)])
        await eventually(lambda: "SENDING" in _states(tmp_path), "a send has begun")
        with locked_ledger(tmp_path):
            await sent(daemon, 6)
            await eventually(lambda: daemon.printed.count("paused (ledger)") == 2, "a pause")
            await publisher.publish([planner.good()])
        await sent(daemon, 7)
        await eventually(lambda: _states(tmp_path) == {"SENT"}, "all are committed")
        assert await daemon.stop() == 0
        assert await client.count(WORK_QUEUE) == 0
    assert texts_of(daemon) == [each.text for each in publisher.confirmed]
    assert ledger(tmp_path).doubtful == set()


def _states(directory: Path) -> set[str]:
    return {state for state, _, _ in ledger(directory).jobs.values()}
