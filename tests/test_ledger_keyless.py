"""Which job a message without a key belongs to, when it is handed out once more."""

from pathlib import Path

from tests.support.ledger import Bench, again, copy_of, keyless
from whatsapp_worker.outcome import (
    AlreadySent,
    Doubtful,
    Fresh,
    Superseded,
    Unfinished,
)


async def test_two_identical_fresh_messages_are_two_jobs(bench: Bench) -> None:
    one, two = keyless(), keyless()
    first = await bench.send(one)
    one.receipt.ack_proven = True
    assert (await bench.send(two)).key != first.key


async def test_a_keyless_delivery_that_could_not_be_acked_is_not_sent_again(bench: Bench) -> None:
    first = keyless()
    job = await bench.send(first)
    assert await bench.ask(again(first)) == AlreadySent(job)


async def test_a_keyless_delivery_whose_ack_may_be_lost_is_doubtful(bench: Bench) -> None:
    """It may be the same message, or one just like it that came right behind the ack."""
    first = keyless()
    job = await bench.send(first)
    first.receipt.acked = True
    claim = await bench.ask(again(first))
    assert isinstance(claim, Doubtful)
    assert claim.job.key != job.key


async def test_a_keyless_delivery_that_was_sent_before_a_crash_is_doubtful(bench: Bench) -> None:
    first = keyless()
    job = await bench.send(first)
    await bench.crash()
    assert isinstance(await bench.ask(keyless(b"something else")), Fresh)
    claim = await bench.ask(again(first))
    assert isinstance(claim, Doubtful)
    assert claim.job.key != job.key


async def test_what_was_in_doubt_once_is_not_matched_again(bench: Bench) -> None:
    await bench.send(keyless())
    await bench.crash()
    assert isinstance(await bench.ask(again(keyless())), Doubtful)
    await bench.fresh(again(keyless()))


async def test_a_keyless_send_that_a_crash_cut_off_is_doubtful(bench: Bench) -> None:
    first = keyless()
    await bench.begin(first)
    await bench.crash()
    assert isinstance(await bench.ask(again(first)), Doubtful)


async def test_a_redelivered_message_is_matched_only_once(bench: Bench) -> None:
    first = keyless()
    await bench.send(first)
    returned = again(first)
    assert isinstance(await bench.ask(returned), AlreadySent)
    returned.receipt.ack_proven = True
    await bench.fresh(again(keyless()))


async def test_a_proven_ack_is_never_matched(bench: Bench) -> None:
    one, two = keyless(), keyless()
    await bench.send(one)
    one.receipt.ack_proven = one.receipt.lost = True
    await bench.fresh(again(two))


async def test_a_twin_that_waited_when_the_worker_crashed_is_still_sent(bench: Bench) -> None:
    one, two = keyless(), keyless()
    await bench.send(one)
    one.receipt.ack_proven = True
    await bench.fresh(two)  # Claimed, then paused: nothing of it was begun.
    await bench.crash()
    await bench.fresh(again(two))


async def test_a_message_like_one_from_before_the_crash_is_a_new_job(bench: Bench) -> None:
    await bench.send(keyless())
    await bench.crash()
    two = keyless()
    await bench.fresh(two)
    await bench.crash()
    await bench.fresh(again(two))


async def test_of_two_alike_the_one_that_surely_returns_is_matched_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, prefetch=10)
    await bench.open()
    one, two = keyless(), keyless()
    await bench.send(one)
    one.receipt.acked = one.receipt.lost = True
    second = await bench.begin(two)
    claim = await bench.ask(again(two))
    assert (type(claim), claim.job.key) == (Doubtful, second.key)
    await bench.ledger.close()


async def test_a_given_back_keyless_failure_goes_on_where_it_was(bench: Bench) -> None:
    first = keyless()
    job = await bench.fail(first)
    claim = await bench.ask(first)  # The pipeline asks again for the same delivery.
    assert (type(claim), claim.job) == (Unfinished, job)
    claim = await bench.ask(again(first))
    assert (type(claim), claim.job) == (Unfinished, job)


async def test_a_keyless_original_is_stale_once_its_copy_exists(bench: Bench) -> None:
    first = keyless()
    job = await bench.retry(first)
    assert isinstance(await bench.ask(copy_of(job, 1)), Fresh)
    assert isinstance(await bench.ask(again(first)), Superseded)


async def test_forgets_keyless_jobs_whose_acks_nothing_ever_proves(tmp_path: Path) -> None:
    """Several at a time, and a channel lost now and then: only time tells that they are over."""
    bench = Bench(tmp_path, prefetch=3)
    await bench.open()
    for number in range(60):
        one = keyless(str(number).encode())
        await bench.send(one)
        one.receipt.acked = True
        one.receipt.lost = number % 10 < 3
        one.receipt.ack_proven = not one.receipt.lost
    assert len(bench.ledger._keyless._jobs) <= 2 * bench.ledger._keyless.reach + 1
    await bench.ledger.close()


async def test_forgets_keyless_jobs_that_can_not_come_again(bench: Bench) -> None:
    for number in range(20):
        one = keyless(str(number).encode())
        await bench.send(one)
        one.receipt.ack_proven = True
    assert len(bench.ledger._keyless._jobs) <= 2 * bench.prefetch
