"""A meter that several processes share: made by their parent, before it forks."""

import os
from collections.abc import Iterator
from ctypes import c_double, c_int
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from benchmarks.contenders.contract import Result, Task, delay, tell_runner
from benchmarks.processes import cpu_seconds, footprint


class SharedMeter:
    """See `contract.Metered`; processor time and memory are those of the whole family.

    Args:
        task: how many messages there are.
    """

    def __init__(self, task: Task) -> None:
        context = get_context("fork")
        self._task = task
        self._parent = os.getpid()
        self._lock = context.Lock()
        self._began = context.RawArray(c_double, 2)
        self._done = context.RawValue(c_int, 0)
        self._sent = context.RawValue(c_int, 0)
        self._delays = context.RawArray(c_double, task.messages)

    def begin(self) -> None:
        """See `contract.Metered`."""
        if self._began[0]:
            return
        with self._lock:
            if not self._began[0]:
                self._began[1] = self._cpu()
                self._began[0] = perf_counter()

    def sending(self, text: str) -> None:
        """See `contract.Metered`."""
        if self._task.clocked:
            seconds = delay(text)
            with self._lock:
                self._delays[self._sent.value] = seconds
                self._sent.value += 1

    def done(self) -> None:
        """See `contract.Metered`."""
        with self._lock:
            self._done.value += 1
            last = self._done.value == self._task.messages
        if last:
            seconds, cpu = perf_counter() - self._began[0], self._cpu() - self._began[1]
            rss = sum(footprint(each).rss for each in family(self._parent))
            delays = list(self._delays[: self._sent.value])
            tell_runner(Result(self._task.messages, seconds, cpu, rss, delays).line())

    def _cpu(self) -> float:
        return sum(cpu_seconds(each) for each in family(self._parent))


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from family(int(child))
