"""One go at the ledger's file, and one commit, for all who wait for theirs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from whatsapp_worker.errors import Unavailable

MOST = 100
"""Items in a batch: SQLite keeps that many statements of different length prepared (128)."""

RETRY_AFTER = 1.0
"""Seconds between two tries to use a file that could not be used."""

TURNS = 2
"""Turns of the event loop from the end of a batch until those ask whom it woke: in one a job is
sent, or settled, and in the next another job has the turn to send."""

Item = TypeVar("Item")

_NO_JOB = Context()
"""What is logged on the way is about the file, not about the job that happened to ask."""


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item]):
    """An item, and who waits until it is done."""

    item: Item
    owed: bool
    done: "asyncio.Future[None]"


class Batches(Generic[Item]):
    """Does what is asked for in the order of asking, and all that waits in one go.

    Args:
        at_once: does a batch here and now, all of it or nothing; False, and nothing done, if that
            would hold the event loop up.  Raises Unavailable while it can not.
        work: does the same and takes its time.
        patience: seconds for which what is owed waits for company.
    """

    def __init__(
        self,
        at_once: Callable[[Sequence[Item]], bool],
        work: Callable[[Sequence[Item]], Awaitable[None]],
        patience: float,
    ) -> None:
        self._at_once = at_once
        self._work = work
        self._patience = patience
        self._patient_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[_Waiting[Item]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item, *, owed: bool = False) -> None:
        """Have an item done.

        Args:
            item: takes its place behind all that was asked for earlier.
            owed: it must be done, however long that takes, and before whatever comes later.  It is
                not in a hurry, and waits a while for what can be done with it.

        Raises:
            Unavailable: it was not done; never for what is owed.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item] = _Waiting(item, owed, loop.create_future())
        self._waiting.append(waiting)
        if not (owed and self._patience):
            _NO_JOB.run(self._do)
        else:
            self._patient_until = loop.time() + self._patience
            if self._timer is None:
                self._wait_for_company()
        await waiting.done

    async def close(self) -> None:
        """Stop, and forget what waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None  # One that was cancelled before it began could not say so itself.

    def _wait_for_company(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._patient_until, self._waited, context=_NO_JOB)

    def _waited(self) -> None:
        """Do what still waits, if all of it has waited for that long: there is but one timer."""
        self._timer = None
        if self._waiting and asyncio.get_running_loop().time() < self._patient_until:
            self._wait_for_company()
        else:
            self._do()

    def _do(self) -> None:
        """Do all that waits: at once if that can be, otherwise in a task of its own."""
        delay = 0.0
        while self._waiting and self._task is None:
            batch = self._waiting[:MOST]
            try:
                done = not delay and self._at_once([each.item for each in batch])
            except Exception as error:  # noqa: BLE001  A bug reaches all who wait.
                self._refuse(error)
                delay = RETRY_AFTER
            else:
                if done:
                    self._finish(batch)
                else:
                    self._task = asyncio.create_task(self._take_time(delay))

    async def _take_time(self, delay: float) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(delay)
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                batch = self._waiting[:MOST]
                try:
                    await self._work([each.item for each in batch])
                except Exception as error:  # noqa: BLE001  A bug reaches all who wait.
                    self._refuse(error)
                    delay = RETRY_AFTER
                else:
                    self._finish(batch)
                    delay = 0.0
        finally:
            self._task = None

    def _finish(self, batch: Sequence[_Waiting[Item]]) -> None:
        del self._waiting[: len(batch)]
        for each in batch:
            if not each.done.done():  # Nobody waits any more.
                each.done.set_result(None)

    def _refuse(self, error: Exception) -> None:
        """Tell who waits that it was not done; what is owed waits on, unless it is for a bug."""
        owed = [each for each in self._waiting if each.owed and isinstance(error, Unavailable)]
        for each in self._waiting:
            if each not in owed and not each.done.done():
                each.done.set_exception(error)
        self._waiting = owed
