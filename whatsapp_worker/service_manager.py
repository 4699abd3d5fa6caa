"""Tells the service manager how we are: ready, stopping, alive (sd_notify(3), by hand).

systemd names a datagram socket in NOTIFY_SOCKET and, with WatchdogSec=, the longest silence it puts
up with in WATCHDOG_USEC.  Without the former nothing is sent.  Whatever goes wrong here, the daemon
goes on: systemd draws its own conclusion from the silence.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

INTERVAL = 5.0
"""Seconds between two looks, when no watchdog asks for more."""

LONGEST_STATUS = 200
"""Characters; it is one line of `systemctl status`."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Whoever started us and wants to know.

    Attributes:
        address: its datagram socket, a path or an abstract name; None when nobody asks.
        interval: seconds between two signs of life.
    """

    address: str | None = None
    interval: float = INTERVAL

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read who asks, and how often it wants to hear of us, from the process's environment."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address.startswith("@"):  # An abstract name (unix(7)), where no \0 can be written.
            address = f"\0{address[1:]}"
        return cls(address or None, min(INTERVAL, _watchdog(environment) / 2))

    def ready(self) -> None:
        """Say that the start is over."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=stopping")

    async def run(self, problem: Callable[[], str | None], status: Callable[[], str]) -> None:
        """Give signs of life until cancelled, as long as there is life.

        Args:
            problem: None, or why we are not alive; then nothing is sent and systemd starts us anew.
            status: one line for people, free of secrets and phone numbers.
        """
        while True:
            if problem() is None:
                line = " ".join(status().split())[:LONGEST_STATUS]
                self._tell("WATCHDOG=1", f"STATUS={line}")
            await asyncio.sleep(self.interval)

    def _tell(self, *lines: str) -> None:
        """Send one datagram; rather lose it than wait or fail."""
        if self.address is None:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(errors="replace"), self.address)


def _watchdog(environment: Mapping[str, str]) -> float:
    """Seconds of silence that are put up with; infinite without a watchdog of ours."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not (ours and microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return float("inf")
    return int(microseconds) / 1_000_000
