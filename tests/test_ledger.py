"""What the ledger says of a delivery, whatever happened to the deliveries before it."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.eventually import eventually
from tests.support.ledger import BROKEN, NUMBER, Bench, again, copy_of, keyed, message
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    Invalid,
    Misconfigured,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)
from whatsapp_worker.outcome import (
    AlreadySent,
    Doubtful,
    Fresh,
    Job,
    Superseded,
    Unfinished,
)
from whatsapp_worker.store.database import FILE_NAME, MIGRATIONS, Database, sent_keys
from whatsapp_worker.store.ledger import OVERDUE_AFTER

PAGE = 4096

# With a key --------------------------------------------------------------------------------------


async def test_an_unknown_job_is_fresh(bench: Bench) -> None:
    job = await bench.fresh(keyed())
    assert (job.attempt, job.unknown_count) == (0, 0)
    assert len(bytes.fromhex(job.key)) == 32


async def test_a_sent_job_is_never_sent_again(bench: Bench) -> None:
    first = keyed()
    job = await bench.send(first)
    for delivery in (again(first), keyed(), copy_of(job, 3), keyed(replay=True)):
        claim = await bench.ask(delivery)
        assert isinstance(claim, AlreadySent)
    await bench.crash()
    assert isinstance(await bench.ask(keyed()), AlreadySent)


async def test_a_send_that_a_crash_cut_off_is_doubtful(bench: Bench) -> None:
    first = keyed()
    await bench.begin(first)
    await bench.crash()
    assert isinstance(await bench.ask(again(first)), Doubtful)


async def test_a_job_taken_back_before_it_left_is_fresh(bench: Bench) -> None:
    first = keyed()
    async with bench.ledger.claim(first, message()) as claim:
        await bench.ledger.sending(claim.job)
        await bench.ledger.unsent(claim.job)
    await bench.crash()
    await bench.fresh(again(first))


async def test_a_failure_whose_copy_was_not_published_goes_on_there(bench: Bench) -> None:
    first = keyed()
    job = await bench.fail(first)
    await bench.crash()
    claim = await bench.ask(again(first))
    assert isinstance(claim, Unfinished)
    assert claim.job == job
    assert (type(claim.error), claim.error.error_type, claim.error.detail) == (
        Transient,
        BROKEN.error_type,
        BROKEN.detail,
    )


@pytest.mark.parametrize(
    "error",
    [
        Refused(ErrorType.NOT_ON_WHATSAPP, "no account"),
        Throttled(ErrorType.THROTTLED, "429"),
        InDoubt("no answer"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_unfinished_failure_keeps_its_class(bench: Bench, error: Refused) -> None:
    first = keyed()
    await bench.fail(first, error)
    claim = await bench.ask(again(first))
    assert isinstance(claim, Unfinished)
    assert type(claim.error) is type(error)


async def test_counts_a_send_without_an_answer_on_its_own(bench: Bench) -> None:
    job = await bench.fail(keyed(), InDoubt("no answer"))
    assert (job.attempt, job.unknown_count) == (0, 1)


async def test_the_retry_copy_is_fresh_and_the_original_stale(bench: Bench) -> None:
    first = keyed()
    job = await bench.retry(first)
    assert isinstance(await bench.ask(again(first)), Superseded)
    claim = await bench.ask(copy_of(job, 1))
    assert isinstance(claim, Fresh)
    assert (claim.job.key, claim.job.attempt) == (job.key, 1)
    assert claim.job.first_seen == job.first_seen


async def test_a_copy_that_is_ahead_of_the_row_is_accepted(bench: Bench) -> None:
    job = await bench.fail(keyed())  # The copy was confirmed, RETRY was not committed (W6).
    claim = await bench.ask(copy_of(job, 1))
    assert claim == Fresh(replace(job, attempt=1))


async def test_a_copy_without_a_row_is_fresh_at_its_attempt(bench: Bench) -> None:
    claim = await bench.ask(copy_of(Job("ab" * 32), 2))
    assert isinstance(claim, Fresh)
    assert (claim.job.key, claim.job.attempt) == ("ab" * 32, 2)


async def test_a_dead_job_stays_dead_when_its_delivery_comes_again(bench: Bench) -> None:
    first = keyed()
    job = await bench.kill(first)
    assert isinstance(await bench.ask(again(first)), Superseded)
    assert isinstance(await bench.ask(copy_of(job, 1)), Superseded)


async def test_a_replay_of_a_dead_job_starts_at_the_first_attempt(bench: Bench) -> None:
    job = await bench.kill(keyed())
    claim = await bench.ask(replace(copy_of(job, 0), replay=True, redelivered=True))
    assert isinstance(claim, Fresh)
    assert (claim.job.key, claim.job.attempt, claim.job.unknown_count) == (job.key, 0, 0)


async def test_a_fresh_publish_of_a_dead_job_is_a_new_job_even_when_redelivered(
    bench: Bench,
) -> None:
    await bench.kill(keyed())
    anew = keyed()
    await bench.fresh(anew)
    await bench.crash()
    await bench.fresh(again(anew))


async def test_a_key_used_for_other_content_is_a_conflict(bench: Bench) -> None:
    await bench.send(keyed())
    with pytest.raises(Invalid) as caught:
        await bench.ask(keyed(), message("other text"))
    assert caught.value.error_type is ErrorType.KEY_CONFLICT
    assert "other text" not in str(caught.value)


async def test_one_user_can_not_use_up_the_key_of_another(bench: Bench) -> None:
    await bench.send(keyed())
    assert isinstance(await bench.ask(keyed(), message(user=2)), Fresh)


async def test_the_envelopes_own_key_goes_before_the_message_id(bench: Bench) -> None:
    one = await bench.ask(keyed(), message(key="order-1"))
    two = await bench.ask(keyed(message_id="m-2"), message(key="order-1"))
    three = await bench.ask(keyed(), message(key="order-2"))
    assert one.job.key == two.job.key != three.job.key


async def test_a_second_claim_waits_for_the_first_and_judges_its_result(bench: Bench) -> None:
    first = keyed()
    async with bench.ledger.claim(first, message()) as claim:
        waiting = asyncio.create_task(bench.ask(again(first)))
        await bench.ledger.sending(claim.job)
        await bench.ask(keyed(message_id="other"))  # Others go on meanwhile.
        assert not waiting.done()
        await bench.ledger.sent(claim.job, "WA1")
    assert isinstance(await waiting, AlreadySent)


# The file ----------------------------------------------------------------------------------------


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
    written = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
    await database.probe()
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size >= written + 2 * PAGE
    assert await database.newest(9) == []
    await database.close()


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


async def test_says_what_to_do_when_the_directory_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()  # Root may write anywhere: only this stops it as well.
    with pytest.raises(Misconfigured, match="see that its directory is writable"):
        await Bench(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


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
    with pytest.raises(Unavailable, match="its file was deleted"):
        await bench.ask(keyed())
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
    with pytest.raises(Unavailable, match="replaced"):
        await bench.ask(again(first))
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
