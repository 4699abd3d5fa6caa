"""What systemd hears of a daemon from its start to its end."""

import socket
from pathlib import Path

from tests.support.daemon import run_daemon
from tests.support.eventually import eventually


async def test_the_daemon_says_when_it_is_ready_alive_and_stopping(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)

        def hears(line: str) -> bool:
            try:
                heard.extend(systemd.recv(4096).decode().splitlines())
            except BlockingIOError:
                return False
            return line in heard

        settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        async with run_daemon(amqp_url, tmp_path, daemon_output, **settings) as daemon:
            await eventually(lambda: hears("READY=1"), "ready", 45)
            connected = "STATUS=WhatsApp online, RabbitMQ connected"
            await eventually(lambda: hears(connected), "connected", 45)
            assert await daemon.stop() == 0
            await eventually(lambda: hears("STOPPING=1"), "stopping")
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard
