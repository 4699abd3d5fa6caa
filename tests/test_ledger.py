"""What the ledger says of a delivery, whatever happened to the deliveries before it."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.ledger import BROKEN, Bench, again, copy_of, keyed, message
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    Invalid,
    Refused,
    Throttled,
    Transient,
)
from whatsapp_worker.outcome import (
    AlreadySent,
    Doubtful,
    Fresh,
    Job,
    Superseded,
    Unfinished,
)

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
