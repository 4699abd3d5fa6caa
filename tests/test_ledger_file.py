"""The ledger's file: private, lasting, and what happens when it can not be used."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import aiosqlite
import pytest

from tests.support.eventually import eventually
from tests.support.ledger import NUMBER, Bench, again, copy_of, keyed, message
from whatsapp_worker.errors import (
    Misconfigured,
    PauseReason,
    Unavailable,
)
from whatsapp_worker.outcome import AlreadySent, Superseded
from whatsapp_worker.store.database import (
    FILE_NAME,
    LOOK_SECONDS,
    Database,
    Row,
    sent_keys,
)
from whatsapp_worker.store.file import MUCH_TOO_LONG, QUICK, SLOW_FOR, Pace
from whatsapp_worker.store.ledger import OVERDUE_AFTER, PURGE_BATCH
from whatsapp_worker.store.schema import LOG_PAGES, MIGRATIONS, prepare

PAGE = 4096


async def test_the_files_are_private(bench: Bench, tmp_path: Path) -> None:
    await bench.send(keyed())
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert FILE_NAME in modes


async def test_rows_hold_neither_number_nor_text_nor_key(bench: Bench, tmp_path: Path) -> None:
    await bench.ask(keyed(message_id="customer-4711"), message("a secret text", key="order-4711"))
    await bench.send(keyed(message_id="customer-4711"))
    await bench.ledger.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (NUMBER, NUMBER[1:], "hello", "customer-4711", "order-4711", str(UUID(int=1))):
        assert secret.encode() not in kept
    await bench.open()


async def test_refuses_a_file_of_a_newer_worker(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await (await bench.open()).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(Misconfigured, match="newer whatsapp-worker"):
        await bench.open()


async def test_a_file_of_an_older_worker_is_brought_up_to_date_with_all_it_holds(
    bench: Bench, tmp_path: Path
) -> None:
    for number in range(3):
        await bench.send(keyed(message_id=f"m-{number}"))
    bench.now += 100
    await bench.retry(keyed(message_id="m-3"))
    await bench.ledger.close()
    columns = ", ".join(Row._fields)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as now:
        rows = now.execute(f"SELECT {columns} FROM jobs ORDER BY key").fetchall()
        secret = now.execute("SELECT value FROM secret").fetchone()
    (tmp_path / FILE_NAME).unlink()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as old:
        old.executescript(MIGRATIONS[0])
        old.executemany(f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * 12)})", rows)
        old.execute("INSERT INTO secret VALUES (?)", secret)
        old.execute("PRAGMA user_version = 1")
        old.commit()
    await bench.open()
    for number in range(3):
        assert isinstance(await bench.ask(keyed(message_id=f"m-{number}")), AlreadySent)
    assert isinstance(await bench.ask(keyed(message_id="m-3")), Superseded)
    upkeep = asyncio.create_task(bench.ledger.run(50, lambda _count: None))
    fresh = keyed(message_id="m-0")
    await eventually(lambda: bench.fresh(fresh), "forgot what is old")
    upkeep.cancel()
    assert isinstance(await bench.ask(keyed(message_id="m-3")), Superseded)


async def test_refuses_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(Misconfigured, match="not a database"):
        await Bench(tmp_path).open()


async def test_forgets_jobs_after_their_retention(bench: Bench) -> None:
    old, new = keyed(message_id="old"), keyed(message_id="new")
    await bench.send(old)
    bench.now += 100
    await bench.send(new)
    seen: list[int] = []
    upkeep = asyncio.create_task(bench.ledger.run(50, seen.append))
    await eventually(lambda: bool(seen))
    upkeep.cancel()
    await bench.fresh(keyed(message_id="old"))
    assert isinstance(await bench.ask(keyed(message_id="new")), AlreadySent)


async def test_forgets_many_jobs_a_few_at_a_time(bench: Bench, tmp_path: Path) -> None:
    """Each of them lies on a page of its own, and whoever sends meanwhile waits for the commit."""
    for number in range(2 * PURGE_BATCH + 1):
        await bench.send(keyed(message_id=f"m-{number}"))
    bench.now += 1000
    left: list[int] = []

    def look(_overdue: int) -> None:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
            left.extend(file.execute("SELECT COUNT(*) FROM jobs").fetchone())

    upkeep = asyncio.create_task(bench.ledger.run(50, look))
    await eventually(lambda: len(left) == 4)
    upkeep.cancel()
    assert left == [PURGE_BATCH + 1, 1, 0, 0]


async def test_counts_retry_copies_that_never_came_back(bench: Bench) -> None:
    job = await bench.retry(keyed(message_id="gone"))
    back = await bench.retry(keyed(message_id="back"))
    await bench.send(copy_of(back, 1))
    bench.now += OVERDUE_AFTER + 10
    seen: list[int] = []
    upkeep = asyncio.create_task(bench.ledger.run(1e9, seen.append))
    await eventually(lambda: bool(seen))
    upkeep.cancel()
    assert seen == [1]
    assert job.key != back.key


async def test_tells_which_keys_were_sent_from_another_process(
    bench: Bench, tmp_path: Path
) -> None:
    sent = await bench.send(keyed())
    dead = await bench.kill(keyed(message_id="m-2"))
    keys = [sent.key, dead.key, "ab" * 32]
    assert sent_keys(tmp_path / FILE_NAME, keys) == {sent.key}


async def test_says_so_when_another_process_can_not_read_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(Misconfigured, match="can not be read"):
        sent_keys(tmp_path / FILE_NAME, ["ab" * 32])


class Trouble:
    """Makes the ledger's file unusable, and mends it."""

    def __init__(self, bench: Bench) -> None:
        self._file = bench.directory / FILE_NAME
        self._lock = sqlite3.connect(self._file, timeout=0, isolation_level=None)

    def start(self) -> None:
        self._lock.execute("BEGIN EXCLUSIVE")  # Like a disk that takes no write.

    def stop(self) -> None:
        self._lock.execute("ROLLBACK")
        self._lock.close()


async def test_fails_closed_and_recovers_by_itself(bench: Bench) -> None:
    trouble = Trouble(bench)
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    trouble.start()
    async with bench.ledger.claim(keyed(), message()) as claim:
        with pytest.raises(Unavailable) as caught:
            await bench.ledger.sending(claim.job)
    assert caught.value.reason is PauseReason.LEDGER
    with pytest.raises(Unavailable):
        await bench.ask(keyed())
    assert all(why for _, why in bench.reports)
    await eventually(lambda: len(bench.reports) > 1)  # It has tried to mend, and could not yet.
    trouble.stop()
    await eventually(lambda: bench.ledger.problem is None, within=10)
    assert bench.reports[-1] == (PauseReason.LEDGER, None)
    await bench.send(keyed())
    upkeep.cancel()


async def test_a_disk_that_is_still_full_is_not_taken_for_mended(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / FILE_NAME)
    before = log_of(tmp_path)
    await database.probe()
    after = log_of(tmp_path)
    rows = await database.newest(9)
    await database.close()
    assert len(after) >= len(before)
    assert before[:PAGE] != after[:PAGE]
    assert before[PAGE : 2 * PAGE] != after[PAGE : 2 * PAGE]
    assert rows == []


def log_of(directory: Path) -> bytes:
    return (directory / f"{FILE_NAME}-wal").read_bytes()


async def test_a_commit_waits_for_the_disk_but_not_for_the_log_to_grow(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / FILE_NAME, isolation_level=None) as connection:
        await prepare(connection, tmp_path / FILE_NAME)
        ((synchronous,),) = await connection.execute_fetchall("PRAGMA synchronous")
        ((pages,),) = await connection.execute_fetchall("PRAGMA wal_autocheckpoint")
        assert (synchronous, pages) == (2, LOG_PAGES)  # 2 is FULL.
        length = len(log_of(tmp_path))
        assert length > LOG_PAGES * PAGE
        for _ in range(100):
            await connection.execute("UPDATE secret SET value = randomblob(32)")
        assert len(log_of(tmp_path)) == length
    assert (tmp_path / FILE_NAME).stat().st_size < LOG_PAGES * PAGE  # It is the log that has grown.


async def test_a_disk_with_little_room_is_left_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whatsapp_worker.store.schema.ROOM_FOR_LOG", 1 << 62)
    database = await Database.open(tmp_path / FILE_NAME)
    length = len(log_of(tmp_path))
    await database.close()
    assert length < LOG_PAGES * PAGE


async def test_keeps_a_result_until_the_file_takes_it(bench: Bench) -> None:
    trouble = Trouble(bench)
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    async with bench.ledger.claim(keyed(), message()) as claim:
        await bench.ledger.sending(claim.job)
        trouble.start()
        sent = asyncio.create_task(bench.ledger.sent(claim.job, "WA1"))
        await eventually(lambda: bench.ledger.problem is not None, within=10)
        assert not sent.done()
        trouble.stop()
        await sent
    assert isinstance(await bench.ask(keyed()), AlreadySent)
    upkeep.cancel()


async def test_nothing_new_begins_before_the_file_has_taken_what_happened(bench: Bench) -> None:
    """Else two jobs would be in doubt if the process were killed now."""
    trouble = Trouble(bench)
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    async with bench.ledger.claim(keyed(), message()) as claim:
        await bench.ledger.sending(claim.job)
        trouble.start()
        sent = asyncio.create_task(bench.ledger.sent(claim.job, "WA1"))
        await eventually(lambda: bench.ledger.problem is not None, within=10)
        trouble.stop()
        await eventually(lambda: bench.ledger.problem is None, within=10)
        await bench.begin(keyed(message_id="m-2"))
        assert sent.done()
    upkeep.cancel()


async def test_a_file_that_was_deleted_under_an_idle_worker_is_noticed_as_well(
    bench: Bench,
) -> None:
    (bench.directory / FILE_NAME).unlink()
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    await eventually(lambda: len(bench.reports) == 2, "noticed, and mended")
    (_, what), mended = bench.reports
    assert "deleted" in (what or "")
    assert mended == (PauseReason.LEDGER, None)
    upkeep.cancel()


# A file that keeps one waiting --------------------------------------------------------------------


class Clock:
    """A clock that stands still, but for so many seconds after each reading."""

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


async def test_reads_that_take_no_time_do_not_make_slow_commits_quick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("whatsapp_worker.store.file.monotonic", clock)
    put = Database.put

    def slowly(database: Database, rows: Any) -> bool:
        clock.now += 1.5 * QUICK
        return put(database, rows)

    monkeypatch.setattr(Database, "put", slowly)
    pace = bench.ledger._file._pace = Pace(clock)
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
    clock = Clock()
    monkeypatch.setattr("whatsapp_worker.store.file.monotonic", clock)
    get = Database.get

    def slowly(database: Database, keys: Any) -> Any:
        clock.now += 2 * MUCH_TOO_LONG
        return get(database, keys)

    monkeypatch.setattr(Database, "get", slowly)
    pace = bench.ledger._file._pace = Pace(clock)
    await bench.ledger._file.get("0" * 64)
    assert not pace.quick


async def test_nobody_uses_the_file_while_its_thread_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And yet whoever waits is next: forgetting five million old jobs takes minutes."""
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


async def test_says_what_to_do_when_the_directory_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()  # Root may write anywhere: only this stops it as well.
    with pytest.raises(Misconfigured, match="see that its directory is writable"):
        await Bench(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


async def until_noticed(bench: Bench, what: str) -> None:
    """Begin jobs until one is told what is wrong with the file; an idle ledger does not look."""

    async def noticed() -> bool:
        try:
            await bench.begin(keyed(message_id=f"begun-{bench.now}"))
        except Unavailable as error:
            return what in str(error)
        return False

    await eventually(noticed, what, every=LOOK_SECONDS)


@pytest.mark.parametrize("which", [FILE_NAME, f"{FILE_NAME}*"])
async def test_a_file_that_was_deleted_comes_back_with_all_it_held(
    which: str, bench: Bench
) -> None:
    first = keyed()
    for number in range(40):
        await bench.send(keyed(message_id=f"m-{number}"))
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    for file in bench.directory.glob(which):
        file.unlink()
    await until_noticed(bench, "its file was deleted")
    await eventually(lambda: bench.ledger.problem is None, within=10)
    assert (bench.directory / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert isinstance(await bench.ask(again(first)), AlreadySent)
    upkeep.cancel()
    await bench.crash()
    for number in range(40):
        assert isinstance(await bench.ask(keyed(message_id=f"m-{number}")), AlreadySent)


async def test_a_file_put_in_its_place_gives_way_to_what_the_running_worker_knows(
    bench: Bench,
) -> None:
    await bench.ledger.close()
    old = (bench.directory / FILE_NAME).read_bytes()
    await bench.open()
    first = keyed()
    await bench.send(first)
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    (bench.directory / "restored").write_bytes(old)
    (bench.directory / "restored").replace(bench.directory / FILE_NAME)
    await until_noticed(bench, "replaced")
    await eventually(lambda: bench.ledger.problem is None, within=10)
    assert isinstance(await bench.ask(again(first)), AlreadySent)
    upkeep.cancel()


async def test_a_damaged_page_is_found_at_the_start_whichever_it_is(bench: Bench) -> None:
    for number in range(40):
        await bench.send(keyed(message_id=f"m-{number}"))
    await bench.ledger.close()
    file = bench.directory / FILE_NAME
    sound = file.read_bytes()
    pages = len(sound) // PAGE
    assert pages > 4
    for page in range(pages):
        file.write_bytes(sound[: page * PAGE] + b"\xa5" * PAGE + sound[(page + 1) * PAGE :])
        with pytest.raises(Misconfigured, match="move a damaged file away"):
            await bench.ledger.open()
    file.unlink()
    await bench.open()


async def test_damage_met_while_it_runs_stops_all_sends_until_it_is_moved_away(
    bench: Bench,
) -> None:
    await bench.send(keyed())
    upkeep = asyncio.create_task(bench.ledger.run(1e9, lambda _count: None))
    file = bench.directory / FILE_NAME
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("UPDATE secret SET value = value")  # So that nothing is read from memory.
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = file.read_bytes()
    file.write_bytes(sound[:PAGE] + b"\xa5" * (len(sound) - PAGE))
    with pytest.raises(Unavailable):
        await bench.ask(keyed())
    await eventually(lambda: len(bench.reports) > 1)  # It has tried, and says so still.
    assert "malformed): see that" in (bench.ledger.problem or "")
    assert all(why for _, why in bench.reports)
    file.rename(bench.directory / "damaged.db")
    await eventually(lambda: bench.ledger.problem is None, within=10)
    await bench.send(keyed())
    upkeep.cancel()
