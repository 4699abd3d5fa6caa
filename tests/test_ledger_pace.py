"""Where the ledger's file is used: on the event loop while it is quick, else on its thread."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.ledger import Bench, again, keyed
from whatsapp_worker.outcome import AlreadySent
from whatsapp_worker.store.database import Database
from whatsapp_worker.store.pace import MUCH_TOO_LONG, QUICK, SLOW_FOR, Pace


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_slow_when_commits_take_long_on_average_and_may_prove_itself_later() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(1000):
        pace.took(QUICK)
    assert pace.quick
    for _ in range(100):
        pace.took(2 * QUICK)
    assert not pace.quick
    clock.now += SLOW_FOR
    assert pace.quick


def test_one_commit_that_takes_long_is_no_slow_file() -> None:
    pace = Pace(Clock())
    for _ in range(100):
        for _ in range(300):
            pace.took(0.0002)
        pace.took(0.9)  # SQLite moves its log into the file; or somebody else uses the disk.
    assert pace.quick


def test_a_disk_that_hangs_is_left_to_the_thread_after_the_first_time() -> None:
    pace = Pace(Clock())
    pace.took(1.1)
    assert not pace.quick


class Threads:
    """Notes on which thread the database is used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: list[str] = []
        for name in ("get", "put"):
            monkeypatch.setattr(Database, name, self._noting(name, "loop"))
            thread = f"{name}_on_thread"
            monkeypatch.setattr(Database, thread, self._noting(thread, "thread"))

    def _noting(self, name: str, where: str) -> Callable[[Database, Any], Any]:
        real = getattr(Database, name)

        def noting(database: Database, given: Any) -> Any:
            self.used.append(where)
            return real(database, given)

        return noting


async def test_a_quick_file_is_used_without_a_trip_to_its_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch)
    await bench.send(keyed())
    assert threads.used == ["loop"] * 3


async def test_a_slow_file_is_used_on_its_thread_and_the_loop_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch)
    bench.ledger._file._pace.took(2 * MUCH_TOO_LONG)
    job = await bench.send(keyed())
    assert threads.used == ["thread"] * 3
    assert await bench.ask(again(keyed())) == AlreadySent(job)


def slow(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, seconds: float) -> Pace:
    """Have a method of the database take so long, by a clock of its own; returns what learns it."""
    clock, real = Clock(), getattr(Database, name)
    monkeypatch.setattr("whatsapp_worker.store.file.monotonic", clock)

    def slowly(database: Database, given: Any) -> Any:
        clock.now += seconds
        return real(database, given)

    monkeypatch.setattr(Database, name, slowly)
    pace = bench.ledger._file._pace = Pace(clock)
    return pace


async def test_reads_that_take_no_time_do_not_make_slow_commits_quick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = slow(monkeypatch, bench, "put", 1.5 * QUICK)
    for number in range(100):
        await bench.ledger._file.get("0" * 64)
        await bench.ledger._file.get("1" * 64)
        await bench.send(keyed(message_id=f"m-{number}"))
        if not pace.quick:
            return
    pytest.fail("commits of 7.5 ms are still taken for quick ones")


async def test_a_read_that_takes_long_counts_as_a_commit_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = slow(monkeypatch, bench, "get", 2 * MUCH_TOO_LONG)
    await bench.ledger._file.get("0" * 64)
    assert not pace.quick


async def test_nobody_uses_the_file_while_its_thread_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And yet whoever waits is next."""
    threads = Threads(monkeypatch)
    turns: list[str] = []
    free = asyncio.Event()

    async def long_work(_: Database) -> None:
        turns.append("thread")
        await free.wait()
        await asyncio.sleep(0.01)

    async def again_and_again() -> None:
        for _ in range(3):
            await bench.ledger._file.use(long_work)

    upkeep = asyncio.create_task(again_and_again())
    await eventually(lambda: turns)
    job = asyncio.create_task(bench.send(keyed()))
    await asyncio.sleep(0.01)
    assert threads.used == []
    free.set()
    await job
    assert threads.used == ["loop"] * 3
    assert len(turns) < 3
    await upkeep
