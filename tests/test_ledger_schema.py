"""What is done to the ledger's file before the first job: brought up to date, its log grown."""

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from tests.support.eventually import eventually
from tests.support.ledger import Bench, keyed, log_of, write_ledger_of_0_1_0
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.outcome import AlreadySent, Superseded
from whatsapp_worker.store.database import FILE_NAME, Database
from whatsapp_worker.store.schema import LOG_PAGES, MIGRATIONS, prepare

PAGE = 4096


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
    now = await Database.open(tmp_path / FILE_NAME)
    rows, secret = await now.newest(4), now.secret
    await now.close()
    (tmp_path / FILE_NAME).unlink()
    write_ledger_of_0_1_0(tmp_path, secret, rows)
    await bench.open()
    for number in range(3):
        assert isinstance(await bench.ask(keyed(message_id=f"m-{number}")), AlreadySent)
    assert isinstance(await bench.ask(keyed(message_id="m-3")), Superseded)
    upkeep = asyncio.create_task(bench.ledger.run(50, lambda _count: None))
    fresh = keyed(message_id="m-0")
    await eventually(lambda: bench.fresh(fresh), "forgot what is old")
    upkeep.cancel()
    assert isinstance(await bench.ask(keyed(message_id="m-3")), Superseded)


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
