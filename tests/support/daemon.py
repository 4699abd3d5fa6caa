"""The daemon as a subprocess, for tests that are coroutines."""

import json
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any
from uuid import uuid4

from tests.support.eventually import eventually
from whatsapp_worker.demo.daemon import Daemon

START_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """A daemon and where it leaves its traces.

    Attributes:
        process: the child process; its methods block.
        outbox: where the sandbox sender writes, one JSON object a line.
    """

    process: Daemon
    outbox: Path

    @property
    def printed(self) -> str:
        """All it printed so far."""
        return self.process.printed

    def outbox_entries(self) -> list[dict[str, Any]]:
        """What recipients would have read so far, in order."""
        if not self.outbox.exists():
            return []
        lines = self.outbox.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    async def ready(self, within: float = START_SECONDS) -> None:
        """Return when /readyz says yes."""
        await to_thread(self.process.wait_until_ready, within)

    async def live(self, within: float = START_SECONDS) -> None:
        """Return when /livez says yes."""
        await eventually(lambda: self.status("/livez", 200), "live", within)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of its side server, status 0 while nothing answers."""
        return await to_thread(self.process.get, path)

    async def status(self, path: str, expected: int) -> bool:
        """Whether `path` answers with this status."""
        return (await self.get(path))[0] == expected

    async def metric(self, sample: str) -> float:
        """The value of one sample, named as /metrics prints it with its labels; 0 without it."""
        for line in (await self.get("/metrics"))[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    async def says(self, words: str, within: float = 30.0) -> None:
        """Return when it has printed `words`; a job's line comes after what it tells of."""
        await eventually(lambda: words in self.printed, f"{words!r} is printed", within)

    async def reaches(self, sample: str, value: float, within: float = 30.0) -> None:
        """Return when a sample of /metrics is at least `value`."""

        async def reached() -> bool:
            return await self.metric(sample) >= value

        await eventually(reached, f"{sample} at {value:g}", within)

    async def has_sent(self, count: int, within: float = 30.0) -> list[dict[str, Any]]:
        """Return the outbox when it has at least `count` entries."""
        await eventually(lambda: len(self.outbox_entries()) >= count, f"{count} sent", within)
        return self.outbox_entries()

    def signal(self, which: Signals) -> None:
        """Send it a signal, by process id."""
        self.process.signal(which)

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self.process.kill()

    async def exit_code(self, within: float = 30.0) -> int:
        """Its exit code, when it has ended."""
        return await to_thread(self.process.wait, within)

    async def stop(self, within: float = 30.0) -> int:
        """SIGTERM it and return its exit code."""
        return await to_thread(self.process.stop, within)


@asynccontextmanager
async def run_daemon(
    amqp_url: str, directory: Path, printed: Path, **settings: str
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon with the sandbox sender for as long as the context lasts.

    It is started, not awaited: call `ready()`.  Run it again with the same `directory` and it finds
    its ledger and its outbox as it left them.

    Args:
        amqp_url: RABBITMQ_URL.
        directory: holds its session and outbox; the test's `tmp_path`.
        printed: the directory that keeps what all daemons of this run print (`daemon_output`).
        settings: more settings, by environment name; they win over those made here.
    """
    outbox = directory / "outbox.jsonl"
    session = directory / "session"
    session.mkdir(mode=0o700, exist_ok=True)
    defaults = {
        "RABBITMQ_URL": amqp_url,
        "WHATSAPP_SENDER": "sandbox",
        "WHATSAPP_SESSION_PATH": str(session),
        "WHATSAPP_SEND_INTERVAL": "0",
        "SANDBOX_OUTBOX": str(outbox),
        "RETRY_DELAYS": "1s,2s",
        "ENV": "production",
    }
    output = printed / f"daemon-{uuid4().hex[:12]}.log"
    with Daemon({**defaults, **settings}, output) as process:
        yield RunningDaemon(process, outbox)
