"""What waits for the ledger's file goes there together, in order, and what is owed goes first."""

import asyncio
from collections.abc import Sequence

import pytest

from whatsapp_worker.delivery import trace
from whatsapp_worker.errors import PauseReason, Unavailable
from whatsapp_worker.store import batches
from whatsapp_worker.store.batches import MOST, Batches

BROKEN = Unavailable(PauseReason.LEDGER, "the disk is full")


class File:
    """Doubles numbers; keeps the batches it got, and breaks when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.traces: list[str] = []
        self.trouble: list[Exception] = []
        self.works = asyncio.Event()
        self.works.set()
        self.box = Batches(self.work)

    async def work(self, numbers: Sequence[int]) -> Sequence[int]:
        await self.works.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        self.batches.append(list(numbers))
        self.traces.append(trace.get())
        return [2 * number for number in numbers]

    def ask(self, number: int, *, owed: bool = False) -> asyncio.Task[int]:
        return asyncio.create_task(self.box.ask(number, owed=owed))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "RETRY_AFTER", 0.01)


async def until_asked() -> None:
    """Let all that was started ask, and be told."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_asked_for_together_is_done_in_one_go_and_each_gets_its_own_result() -> None:
    file = File()
    assert await asyncio.gather(*map(file.ask, range(5))) == [0, 2, 4, 6, 8]
    assert file.batches == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_a_batch_is_under_way_makes_the_next_one() -> None:
    file = File()
    file.works.clear()
    first = file.ask(1)
    await until_asked()
    others = [file.ask(2), file.ask(3)]
    await until_asked()
    file.works.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert file.batches == [[1], [2, 3]]


async def test_a_batch_is_no_longer_than_one_statement_may_be() -> None:
    file = File()
    await asyncio.gather(*map(file.ask, range(MOST + 1)))
    assert file.batches == [list(range(MOST)), [MOST]]


async def test_works_again_after_it_had_nothing_to_do() -> None:
    file = File()
    assert await file.ask(1) == 2
    await until_asked()
    assert await file.ask(2) == 4
    assert file.batches == [[1], [2]]


async def test_who_waits_learns_that_it_was_not_done() -> None:
    file = File()
    file.trouble = [BROKEN]
    first, second = file.ask(1), file.ask(2)
    for refused in (first, second):
        with pytest.raises(Unavailable):
            await refused
    assert await file.ask(3) == 6
    assert file.batches == [[3]]


async def test_what_is_owed_is_done_however_long_it_takes_and_before_what_comes_later() -> None:
    file = File()
    file.trouble = [BROKEN, BROKEN]
    new, owed = file.ask(1), file.ask(2, owed=True)
    with pytest.raises(Unavailable):
        await new
    assert not owed.done()
    later = file.ask(3)
    with pytest.raises(Unavailable):
        await later
    last = file.ask(4)
    assert [await owed, await last] == [4, 8]
    assert file.batches == [[2, 4]]


async def test_what_is_owed_is_done_though_nobody_waits_for_it_any_more() -> None:
    file = File()
    file.works.clear()
    owed, unwanted = file.ask(1, owed=True), file.ask(2)
    await until_asked()
    for each in (owed, unwanted):
        each.cancel()
    file.works.set()
    assert await file.ask(3) == 6
    assert file.batches == [[1, 2], [3]]


async def test_a_bug_reaches_all_who_wait_whatever_is_owed() -> None:
    file = File()
    file.trouble = [ZeroDivisionError("a bug")]
    found = await asyncio.gather(file.ask(1), file.ask(2, owed=True), return_exceptions=True)
    assert [type(each) for each in found] == [ZeroDivisionError, ZeroDivisionError]
    assert await file.ask(3) == 6


async def test_a_batch_belongs_to_no_job_of_those_in_it() -> None:
    file = File()
    trace.set("of one job")
    await file.ask(1)
    assert file.traces == [""]


async def test_closed_it_forgets_what_waited_and_can_be_used_anew() -> None:
    file = File()
    file.works.clear()
    owed = file.ask(1, owed=True)
    await until_asked()
    await file.box.close()
    file.works.set()
    assert await file.ask(2) == 4
    assert file.batches == [[2]]
    assert not owed.done()
    owed.cancel()


async def test_closed_before_it_began_it_can_be_used_anew() -> None:
    file = File()
    first = file.ask(1)
    await asyncio.sleep(0)
    await file.box.close()
    assert await file.ask(2) == 4
    assert file.batches == [[2]]
    first.cancel()
