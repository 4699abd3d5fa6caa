"""What systemd hears of us, at a socket of our own in its place."""

import os
import socket
from asyncio import CancelledError, create_task
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.eventually import eventually
from whatsapp_worker.service_manager import INTERVAL, LONGEST_STATUS, ServiceManager

ALIVE = "WATCHDOG=1\nSTATUS=WhatsApp online"


def fine() -> None:
    return None


def status() -> str:
    return "WhatsApp online"


class Listener:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """All that was heard so far."""
        with suppress(BlockingIOError):
            while True:
                self.heard.append(self._socket.recv(4096).decode())
        return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Listener, str]]:
    """A listener and its name as systemd writes it into NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid4().hex}"
    listener = Listener(name.replace("@", "\0", 1))
    yield listener, name
    listener.close()


def test_ready_and_stopping_are_told(systemd: tuple[Listener, str]) -> None:
    listener, name = systemd
    manager = ServiceManager.of({"NOTIFY_SOCKET": name})
    manager.ready()
    manager.stopping()
    assert listener.listen() == ["READY=1", "STOPPING=1\nSTATUS=stopping"]


async def test_signs_of_life_go_on(systemd: tuple[Listener, str]) -> None:
    listener, name = systemd
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"}
    life = create_task(ServiceManager.of(environment).run(fine, status))
    heard = await eventually(lambda: len(listener.listen()) >= 3 and listener.heard)
    life.cancel()
    with pytest.raises(CancelledError):
        await life
    assert set(heard) == {ALIVE}


async def test_who_is_not_alive_is_silent_and_may_come_back(systemd: tuple[Listener, str]) -> None:
    listener, name = systemd
    problems: list[str | None] = ["no heartbeat for 16 s"]
    asked = []

    def problem() -> str | None:
        asked.append(problems[0])
        return problems[0]

    manager = ServiceManager.of({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"})
    life = create_task(manager.run(problem, status))
    await eventually(lambda: len(asked) > 5)
    assert listener.listen() == []
    problems[0] = None
    await eventually(listener.listen)
    life.cancel()
    assert set(listener.heard) == {ALIVE}


async def test_a_status_is_one_line_and_short(systemd: tuple[Listener, str]) -> None:
    listener, name = systemd
    told = "online\nREADY=1\n" + "x" * 500
    life = create_task(ServiceManager.of({"NOTIFY_SOCKET": name}).run(fine, lambda: told))
    (heard, *_) = await eventually(listener.listen)
    life.cancel()
    first, second = heard.split("\n")
    assert first == "WATCHDOG=1"
    assert second.startswith("STATUS=online READY=1 xxx")
    assert len(second) == len("STATUS=") + LONGEST_STATUS


@pytest.mark.parametrize(
    "address", ["", "/nowhere/notify", "@nobody", "relative", "/" + "x" * 300, "\udcff"]
)
def test_nobody_there_is_no_failure(address: str) -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": address})
    manager.ready()
    manager.stopping()


def test_a_service_manager_that_does_not_read_keeps_nobody_waiting(
    systemd: tuple[Listener, str],
) -> None:
    listener, name = systemd
    manager = ServiceManager.of({"NOTIFY_SOCKET": name})
    for _ in range(5000):  # Far more than a socket takes in unread (net.unix.max_dgram_qlen).
        manager.ready()
    assert 0 < len(listener.listen()) < 5000


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, INTERVAL),
        ({"WATCHDOG_USEC": "4000000"}, 2.0),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, INTERVAL),  # Meant for another.
        ({"WATCHDOG_USEC": "30000000"}, INTERVAL),  # More often than asked for does no harm.
        ({"WATCHDOG_USEC": "0"}, INTERVAL),
        ({"WATCHDOG_USEC": "soon"}, INTERVAL),
        ({"WATCHDOG_USEC": "²"}, INTERVAL),
    ],
)
def test_it_speaks_at_least_twice_as_often_as_the_watchdog_asks(
    environment: dict[str, str], interval: float
) -> None:
    assert ServiceManager.of(environment).interval == interval
