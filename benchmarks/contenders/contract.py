"""What the runner and a contender agree on: settings in by environment, one line of JSON out.

A contender consumes from a queue that exists, calls its meter for every message, and goes on until
SIGTERM; by then it has acknowledged whatever it was given.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic_ns, perf_counter, process_time
from typing import Protocol, Self

from benchmarks.processes import footprint

PREFIX = "BENCH_"
LOG = "log.jsonl"
NAME = "send"
"""What the task is called in frameworks whose messages name one."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is to do.

    Attributes:
        url: of RabbitMQ, password included.
        queue: where the messages are.
        kind: of that queue, "classic" or "quorum".
        prefetch: messages held at a time.
        messages: after how many the result is told.
        directory: for the log and whatever else it keeps.
        clocked: texts end with the time of their publishing, and delays are told.
    """

    url: str = field(repr=False)
    queue: str
    kind: str
    prefetch: int
    messages: int
    directory: Path
    clocked: bool = False

    @property
    def log(self) -> Path:
        """The file that gets a line per message."""
        return self.directory / LOG

    def environment(self) -> dict[str, str]:
        """This as a contender finds it in its environment."""
        return {PREFIX + name.upper(): str(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What `environment` wrote."""

        def given(name: str) -> str:
            return environment[PREFIX + name]

        return cls(
            url=given("URL"),
            queue=given("QUEUE"),
            kind=given("KIND"),
            prefetch=int(given("PREFETCH")),
            messages=int(given("MESSAGES")),
            directory=Path(given("DIRECTORY")),
            clocked=given("CLOCKED") == str(True),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What it cost.

    Attributes:
        messages: how many were done.
        seconds: from the first one being taken up to the last one being done.
        cpu: seconds of processor time meanwhile, of all threads and processes.
        rss: resident memory at the end, in MB.
        delays: for clocked messages, seconds from publishing to sending, in order of sending.
    """

    messages: int
    seconds: float
    cpu: float
    rss: float
    delays: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def cpu_each(self) -> float:
        """Seconds of processor time per message."""
        return self.cpu / self.messages

    def line(self) -> str:
        """This as one line of JSON."""
        return json.dumps({**asdict(self), "rate": self.rate})

    @classmethod
    def parse(cls, line: str | bytes) -> Self:
        """What `line` wrote."""
        fields = json.loads(line)
        del fields["rate"]  # There for whoever reads the line.
        return cls(**fields)


class Metered(Protocol):
    """What is called for every message."""

    def begin(self) -> None:
        """A message is taken up."""

    def sending(self, text: str) -> None:
        """The sender is called."""

    def done(self) -> None:
        """A message is done with; after the last one the result is told."""


class Meter:
    """Counts the messages of one process, and tells the result once.

    Args:
        task: how many there are.
        tell: takes the result, as a line.
    """

    def __init__(self, task: Task, tell: Callable[[str], None] | None = None) -> None:
        self._task = task
        self._tell = tell or tell_runner
        self._began: tuple[float, float] | None = None
        self._done = count(1)
        self._delays: list[float] = []

    def begin(self) -> None:
        """See `Metered`."""
        if self._began is None:
            self._began = (perf_counter(), process_time())

    def sending(self, text: str) -> None:
        """See `Metered`."""
        if self._task.clocked:
            self._delays.append(delay(text))

    def done(self) -> None:
        """See `Metered`."""
        if next(self._done) == self._task.messages and self._began is not None:
            now, cpu = perf_counter(), process_time()
            began, cpu_began = self._began
            rss = footprint(os.getpid()).rss
            spent = (now - began, cpu - cpu_began)
            self._tell(Result(self._task.messages, *spent, rss, self._delays).line())


def clocked(text: str) -> str:
    """A text that ends with the time, as `delay` understands it."""
    return f"{text} {monotonic_ns()}"


def delay(text: str) -> float:
    """Seconds since that text was made, on this machine (the clock is the same for everybody)."""
    return (monotonic_ns() - int(text.rpartition(" ")[2])) / 1e9


def tell_runner(line: str) -> None:
    """Write a line to standard output, in one piece, whatever a framework made of `sys.stdout`."""
    os.write(1, line.encode() + b"\n")


async def told_to_stop() -> None:
    """Wait for SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def run_without_loop(work: Coroutine[object, None, None]) -> None:
    """Drive a coroutine that never waits for anything, as a synchronous worker would call it."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("this work waits: it needs an event loop")
