"""The worker as a process of its own, watched from outside as its operators watch it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Self
from urllib.error import HTTPError
from urllib.request import urlopen

from whatsapp_worker.demo.rabbitmq import free_ports

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_", "PYTHON")
"""What a daemon gets of our environment; its settings are the caller's alone."""

POLL_SECONDS = 0.05


class DaemonError(Exception):
    """The daemon did not do what was waited for; the text is one sentence and its last lines."""


class Daemon:
    """`whatsapp-worker run` as a child process.

    A context manager: whatever happens inside, no process stays behind.

    Args:
        settings: its whole configuration, by environment name.  HTTP_HOST and HTTP_PORT are ours.
        output: the file that takes all it prints; what was in it stays.
    """

    def __init__(self, settings: Mapping[str, str], output: Path) -> None:
        self.output = output
        self._port = free_ports(1)[0]
        inherited = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
        web = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(self._port)}
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "whatsapp_worker", "run"],
                env={**inherited, **settings, **web},
                cwd=output.parent,  # Where no developer's .env lies.
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for us: we stop it in our own order.
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def printed(self) -> str:
        """All it printed so far."""
        return self.output.read_text(errors="replace")

    @property
    def url(self) -> str:
        """The root of its side server."""
        return f"http://127.0.0.1:{self._port}"

    def get(self, path: str, timeout: float = 5.0) -> tuple[int, str]:
        """Ask its side server; returns status and body, status 0 while nothing answers.

        Args:
            path: for example "/readyz".
            timeout: seconds.
        """
        try:
            with urlopen(self.url + path, timeout=timeout) as answer:  # noqa: S310  Always http.
                return answer.status, answer.read().decode()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except (OSError, HTTPException):
            return 0, ""

    def wait_for(self, fact: Callable[[], bool], what: str, within: float = 30.0) -> None:
        """Return as soon as `fact` is true.

        Args:
            fact: asked again and again.
            what: its description, for the error: "the worker was ready".
            within: seconds.

        Raises:
            DaemonError: the daemon ended, or the time is up.
        """
        deadline = monotonic() + within
        while not fact():
            code = self._process.poll()
            if code is not None:
                raise DaemonError(
                    f"the worker ended (exit code {code}) before {what}\n{self._tail}"
                )
            if monotonic() > deadline:
                raise DaemonError(f"not within {within:g} seconds: {what}\n{self._tail}")
            sleep(POLL_SECONDS)

    def wait_until_ready(self, within: float = 30.0) -> None:
        """Return when /readyz says yes; `within` is in seconds.

        Raises:
            DaemonError: the daemon ended, or the time is up.
        """
        self.wait_for(lambda: self.get("/readyz")[0] == 200, "the worker was ready", within)

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(which)

    def wait(self, within: float = 30.0) -> int:
        """Return its exit code when it has ended; `within` is in seconds.

        Raises:
            DaemonError: it still runs.
        """
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise DaemonError(
                f"the worker still runs after {within:g} seconds\n{self._tail}"
            ) from None

    def stop(self, within: float = 30.0) -> int:
        """Ask it to stop (SIGTERM) and return its exit code; `within` is in seconds.

        Raises:
            DaemonError: it still runs.
        """
        self.signal(signal.SIGTERM)
        return self.wait(within)

    def kill(self) -> None:
        """End it as a power cut would; does nothing when it has ended."""
        self._process.kill()
        self._process.wait()

    @property
    def _tail(self) -> str:
        return "\n".join(self.printed.splitlines()[-20:])
