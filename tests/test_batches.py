"""What waits for the ledger's file goes there together, in order, and what is owed goes first."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.eventually import eventually
from whatsapp_worker.delivery import trace
from whatsapp_worker.errors import PauseReason, Unavailable
from whatsapp_worker.store import batches
from whatsapp_worker.store.batches import MOST, Batches

PATIENCE = 0.005
BROKEN = Unavailable(PauseReason.LEDGER, "the disk is full")


class File:
    """Keeps the batches it got; is slow, or breaks, when it is told to."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.batches: list[list[int]] = []
        self.traces: list[str] = []
        self.trouble: list[Exception] = []
        self.quick = True
        self.works = asyncio.Event()
        self.works.set()
        self.box = Batches[int](self.at_once, self.work, patience)

    def at_once(self, numbers: Sequence[int]) -> bool:
        if self.quick:
            self._take(numbers)
        return self.quick

    async def work(self, numbers: Sequence[int]) -> None:
        await self.works.wait()
        self._take(numbers)

    def _take(self, numbers: Sequence[int]) -> None:
        if self.trouble:
            raise self.trouble.pop(0)
        self.batches.append(list(numbers))
        self.traces.append(trace.get())

    def ask(self, number: int, *, owed: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(self.box.ask(number, owed=owed))

    def hang(self) -> None:
        self.quick = False
        self.works.clear()


@pytest.fixture
async def file() -> File:
    return File()


@pytest.fixture(params=["quick", "slow"])
async def either(request: pytest.FixtureRequest) -> File:
    """A file that does what it is asked at once, and one that takes its time."""
    file = File()
    file.quick = request.param == "quick"
    return file


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "RETRY_AFTER", 0.01)


async def until_asked() -> None:
    """Let all that was started ask, and be told."""
    for _ in range(10):
        await asyncio.sleep(0)


# A file that is quick -----------------------------------------------------------------------------


async def test_what_is_asked_of_a_quick_file_is_done_before_anybody_else_has_a_turn(
    file: File,
) -> None:
    other = file.ask(2)
    await file.box.ask(1)
    assert file.batches == [[1]]
    await other
    assert file.batches == [[1], [2]]


async def test_a_result_is_committed_with_what_begins_next(file: File) -> None:
    """Which is what makes it one commit per job instead of two."""
    sent = file.ask(1, owed=True)
    await until_asked()
    assert file.batches == []
    await file.box.ask(2)
    assert file.batches == [[1, 2]]
    await sent


async def test_a_result_does_not_wait_for_long_where_nothing_begins(file: File) -> None:
    await file.box.ask(1, owed=True)
    await file.box.ask(2)
    assert file.batches == [[1], [2]]


async def test_every_result_waits_as_long_for_company(file: File) -> None:
    waited = []
    for number in range(3):
        began = asyncio.get_running_loop().time()
        await file.box.ask(number, owed=True)
        waited.append(asyncio.get_running_loop().time() - began)
    assert min(waited) >= PATIENCE
    first = file.ask(3, owed=True)
    await asyncio.sleep(PATIENCE / 2)
    second = file.ask(4, owed=True)
    await asyncio.gather(first, second)
    assert file.batches == [[0], [1], [2], [3, 4]]


async def test_a_result_waits_for_nobody_where_nobody_can_come() -> None:
    file = File(patience=0.0)
    await asyncio.gather(file.ask(1, owed=True), file.ask(2))
    assert file.batches == [[1], [2]]


async def test_what_is_owed_to_a_quick_file_that_broke_is_done_later_and_first(file: File) -> None:
    file.trouble = [BROKEN]
    owed = file.ask(1, owed=True)
    await eventually(lambda: not file.trouble, every=0.001)
    later = file.ask(2)
    await asyncio.gather(owed, later)
    assert file.batches == [[1, 2]]


async def test_who_begins_something_learns_at_once_that_the_file_is_broken(file: File) -> None:
    file.trouble = [BROKEN]
    with pytest.raises(Unavailable):
        await file.box.ask(1)
    await file.box.ask(2)
    assert file.batches == [[2]]


# One that takes its time --------------------------------------------------------------------------


async def test_what_is_asked_for_together_is_done_in_one_go(file: File) -> None:
    file.quick = False
    await asyncio.gather(*map(file.ask, range(5)))
    assert file.batches == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_a_batch_is_under_way_makes_the_next_one(file: File) -> None:
    file.hang()
    first = file.ask(1)
    await until_asked()
    others = [file.ask(2), file.ask(3, owed=True)]
    await until_asked()
    file.works.set()
    await asyncio.gather(first, *others)
    assert file.batches == [[1], [2, 3]]


async def test_a_batch_is_no_longer_than_one_statement_may_be(file: File) -> None:
    file.quick = False
    await asyncio.gather(*map(file.ask, range(MOST + 1)))
    assert file.batches == [list(range(MOST)), [MOST]]


async def test_what_is_owed_together_is_no_longer_than_one_statement_either(file: File) -> None:
    await asyncio.gather(*(file.ask(number, owed=True) for number in range(MOST + 1)))
    assert file.batches == [list(range(MOST)), [MOST]]


# Both ---------------------------------------------------------------------------------------------


async def test_works_again_after_it_had_nothing_to_do(either: File) -> None:
    await either.box.ask(1)
    await until_asked()
    await either.box.ask(2)
    assert either.batches == [[1], [2]]


async def test_who_waits_learns_that_it_was_not_done(either: File) -> None:
    either.trouble = [BROKEN, BROKEN]
    for refused in (either.ask(1), either.ask(2)):
        with pytest.raises(Unavailable):
            await refused
    either.trouble.clear()
    await either.box.ask(3)
    assert either.batches == [[3]]


async def test_what_is_owed_is_done_however_long_it_takes_and_before_what_comes_later(
    file: File,
) -> None:
    file.quick = False
    file.trouble = [BROKEN, BROKEN]
    new, owed = file.ask(1), file.ask(2, owed=True)
    with pytest.raises(Unavailable):
        await new
    assert not owed.done()
    later = file.ask(3)
    with pytest.raises(Unavailable):
        await later
    last = file.ask(4)
    await asyncio.gather(owed, last)
    assert file.batches == [[2, 4]]


async def test_what_is_owed_is_done_though_nobody_waits_for_it_any_more(file: File) -> None:
    file.hang()
    owed, unwanted = file.ask(1, owed=True), file.ask(2)
    await until_asked()
    for each in (owed, unwanted):
        each.cancel()
    file.works.set()
    await file.box.ask(3)
    assert file.batches == [[1, 2], [3]]


async def test_a_bug_reaches_all_who_wait_whatever_is_owed(either: File) -> None:
    either.trouble = [ZeroDivisionError("a bug")]
    owed, new = either.ask(2, owed=True), either.ask(1)
    found = await asyncio.gather(owed, new, return_exceptions=True)
    assert [type(each) for each in found] == [ZeroDivisionError, ZeroDivisionError]
    await either.box.ask(3)


async def test_a_batch_belongs_to_no_job_of_those_in_it(either: File) -> None:
    trace.set("of one job")
    await either.box.ask(1)
    await either.box.ask(2, owed=True)
    assert either.traces == ["", ""]


async def test_closed_it_forgets_what_waited_and_can_be_used_anew(file: File) -> None:
    file.hang()
    owed = file.ask(1, owed=True)
    await asyncio.sleep(2 * PATIENCE)
    await file.box.close()
    file.works.set()
    await file.box.ask(2)
    assert file.batches == [[2]]
    assert not owed.done()
    owed.cancel()


async def test_closed_before_it_began_it_can_be_used_anew(file: File) -> None:
    file.quick = False
    first = file.ask(1)
    await asyncio.sleep(0)
    await file.box.close()
    await file.box.ask(2)
    assert file.batches == [[2]]
    first.cancel()


async def test_what_was_forgotten_before_its_moment_came_stays_forgotten(file: File) -> None:
    owed = file.ask(1, owed=True)
    await asyncio.sleep(0)
    await file.box.close()
    await asyncio.sleep(2 * PATIENCE)
    assert file.batches == []
    owed.cancel()
