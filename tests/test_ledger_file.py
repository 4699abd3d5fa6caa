"""The ledger's file: private, lasting, and what happens when it can not be used."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.eventually import eventually
from tests.support.ledger import NUMBER, Bench, again, copy_of, keyed, log_of, message
from whatsapp_worker.errors import (
    Misconfigured,
    PauseReason,
    Unavailable,
)
from whatsapp_worker.outcome import AlreadySent
from whatsapp_worker.store.database import (
    FILE_NAME,
    LOOK_SECONDS,
    Database,
    sent_keys,
)
from whatsapp_worker.store.ledger import OVERDUE_AFTER, PURGE_BATCH

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
    for number in range(80):  # So many that no page is free: nobody would miss that one.
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
