"""One trip to the ledger's thread, and one commit, for all who wait for theirs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from whatsapp_worker.errors import Unavailable

MOST = 100
"""Items in a batch: SQLite keeps that many statements of different length prepared (128)."""

RETRY_AFTER = 1.0
"""Seconds between two tries to use a file that could not be used."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item, Result]):
    """An item, and who waits for its result."""

    item: Item
    owed: bool
    result: "asyncio.Future[Result]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batches(Generic[Item, Result]):
    """Does what is asked for in the order of asking, and all that waits in one go.

    Args:
        work: does a batch, all of it or nothing, and returns a result for each item; raises
            Unavailable while it can not.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._waiting: list[_Waiting[Item, Result]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item, *, owed: bool = False) -> Result:
        """Have an item done.

        Args:
            item: takes its place behind all that was asked for earlier.
            owed: it must be done, however long that takes, and before whatever comes later.

        Raises:
            Unavailable: it was not done; never for what is owed.
        """
        waiting = _Waiting[Item, Result](item, owed)
        self._waiting.append(waiting)
        if self._task is None:
            # In no job's context: what is logged on the way is about the file, not about one job.
            self._task = asyncio.create_task(self._run(), context=Context())
        return await waiting.result

    async def close(self) -> None:
        """Stop, and forget what waits."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None  # One that was cancelled before it began could not say so itself.

    async def _run(self) -> None:
        try:
            while await self._gathered():
                batch = self._waiting[:MOST]
                try:
                    results = await self._work([each.item for each in batch])
                except Exception as error:  # noqa: BLE001  A bug reaches all who wait.
                    self._waiting = [each for each in self._waiting if not _refused(each, error)]
                    if self._waiting:
                        await asyncio.sleep(RETRY_AFTER)
                else:
                    del self._waiting[: len(batch)]
                    for each, result in zip(batch, results, strict=True):
                        if not each.result.done():  # Nobody waits any more.
                            each.result.set_result(result)
        finally:
            self._task = None

    async def _gathered(self) -> bool:
        """Let those ask who are about to; returns whether anything waits.

        One turn of the loop is for those whom the last batch woke: a job is sent, or settled.
        The next is for the job that then got the turn to send.
        """
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return bool(self._waiting)


def _refused(waiting: _Waiting[Item, Result], error: Exception) -> bool:
    """Tell who waits that it was not done; what is owed waits on, unless a bug is in the way."""
    if waiting.owed and isinstance(error, Unavailable):
        return False
    if not waiting.result.done():
        waiting.result.set_exception(error)
    return True
