"""The ledger's file as something that can fail for a while, and come back by itself."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

from whatsapp_worker.errors import Misconfigured, PauseReason, Unavailable
from whatsapp_worker.store.batches import RETRY_AFTER, Batches
from whatsapp_worker.store.database import Database, Row
from whatsapp_worker.store.pace import QUICK, Pace

log = logging.getLogger(__name__)

T = TypeVar("T")

_FAULTS = (sqlite3.Error, OSError, ValueError)
"""What a file raises that can not be used; ValueError: it was closed by `mend`."""


class LedgerFile:
    """Uses the database while it works, and opens it anew when it does not.

    Args:
        path: the database file.
        report: told why the ledger can not be used, and with None when it can again.
        patience: seconds for which what has happened waits to be committed with what comes next.
    """

    def __init__(
        self, path: Path, report: Callable[[PauseReason, str | None], None], patience: float
    ) -> None:
        self._path = path
        self._report = report
        self._database: Database | None = None
        self._broken = asyncio.Event()
        self._rows = Batches[Row](self._put_at_once, self._put, patience)
        self._pace = Pace()
        self._on_thread = 0
        self._thread_is_free = asyncio.Event()
        self.problem: str | None = "it is being opened"

    async def open(self, first: Callable[[Database], Awaitable[T]]) -> T:
        """Open the file and do a first piece of work; raises Misconfigured if that fails."""
        try:
            self._database = await Database.open(self._path)
            done = await first(self._database)
            await self._database.check()
        except (sqlite3.Error, OSError) as error:
            await self._let_go()
            raise Misconfigured(self._sentence(error)) from None
        self.problem = None
        return done

    async def close(self) -> None:
        """Close the file; what could not be written so far is not."""
        await self._rows.close()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._database is not None:
            await self._database.close()
            self._database = None

    def usable(self) -> Database:
        """The database; raises Unavailable while it can not be used."""
        if self._database is None or self.problem is not None:
            raise Unavailable(PauseReason.LEDGER, self.problem or "the ledger is not open")
        return self._database

    async def use(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """Do some work with the database on its thread; raises Unavailable if that fails."""
        database = self.usable()
        self._on_thread += 1
        self._thread_is_free.clear()
        try:
            done = await work(database)
        except _FAULTS as error:
            raise self._fault(error) from error
        finally:
            self._on_thread -= 1
            if not self._on_thread:
                self._thread_is_free.set()
        await asyncio.sleep(0)  # Those who wait for the thread to be free come first.
        return done

    def _at_once(self, work: Callable[[Database], T], *, commits: bool) -> T | None:
        """Do some work here and now; None if that might hold the event loop up.

        The way to the thread and back takes longer than a commit (benchmarks/NOTES.md): it is for
        files that keep one waiting, and for what takes long.
        """
        database = self.usable()
        if self._on_thread or not self._pace.quick:
            return None
        began = monotonic()
        try:
            return work(database)
        except _FAULTS as error:
            raise self._fault(error) from error
        finally:
            seconds = monotonic() - began
            if commits or seconds > QUICK:
                self._pace.took(seconds)

    async def _soon(
        self,
        work: Callable[[Database], T],
        on_thread: Callable[[Database], Awaitable[T]],
        *,
        commits: bool,
    ) -> T:
        """Do some work as soon as the thread is free, or on it if the file is slow."""
        while (done := self._at_once(work, commits=commits)) is None:
            if not self._pace.quick:
                return await self.use(on_thread)
            await self._thread_is_free.wait()
        return done

    async def get(self, key: str) -> Row | None:
        """Read one job; raises Unavailable."""
        found = await self._soon(
            lambda db: db.get(key), lambda db: db.get_on_thread(key), commits=False
        )
        return found[0] if found else None

    def _put_at_once(self, rows: Sequence[Row]) -> bool:
        return bool(self._at_once(lambda db: db.put(rows), commits=True))

    async def _put(self, rows: Sequence[Row]) -> None:
        await self._soon(lambda db: db.put(rows), lambda db: db.put_on_thread(rows), commits=True)

    async def put(self, row: Row, *, owed: bool = False) -> None:
        """Commit one job, behind all that was given earlier.

        Args:
            row: the job.
            owed: it has happened already, and to forget it would lie: it is committed however long
                that takes, and before anything that is given later, since nothing new may begin
                upon a state that is not kept.

        Raises:
            Unavailable: it was not committed, and is not owed.
        """
        await self._rows.ask(row, owed=owed)

    async def mend(self, within: float) -> None:
        """Wait up to so many seconds for a fault, and return once it is mended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._broken.wait()
        while self.problem is not None:
            await asyncio.sleep(RETRY_AFTER)
            try:
                await self._reopen()
            except (sqlite3.Error, OSError, Misconfigured) as error:
                self._fault(error)
            else:
                self.problem = None
                self._report(PauseReason.LEDGER, None)
        self._broken.clear()

    async def _reopen(self) -> None:
        """Open the file anew; one that was deleted or replaced comes back with all it held."""
        database = self._database
        gone = database is not None and not database.in_place
        copy = await self._saved(database) if database is not None and gone else None
        await self._let_go()
        if gone:
            _put_in_place(copy, self._path)
        await self.open(Database.probe)

    async def _saved(self, database: Database) -> Path | None:
        copy = self._path.with_suffix(".copy")
        try:
            await database.copy_to(copy)
        except sqlite3.OperationalError:  # A full disk, perhaps: that passes.
            raise
        except sqlite3.DatabaseError:  # It was damaged, and moved away for that.
            return None
        return copy

    def _fault(self, error: Exception) -> Unavailable:
        """Note a fault, and return what those are told who can not go on."""
        self.problem = str(error) if isinstance(error, Misconfigured) else self._sentence(error)
        self._report(PauseReason.LEDGER, self.problem)
        self._broken.set()
        return Unavailable(PauseReason.LEDGER, str(error))

    def _sentence(self, error: Exception) -> str:
        return (
            f"the ledger {self._path} can not be used ({error}): see that its directory is "
            "writable and not full, or move a damaged file away"
        )


def _put_in_place(copy: Path | None, path: Path) -> None:
    for kind in ("-wal", "-shm"):  # Of the old file: SQLite would mix them into the new one.
        Path(f"{path}{kind}").unlink(missing_ok=True)
    if copy is not None:
        copy.replace(path)
        log.warning("the ledger was deleted or replaced: it was written anew with all it held")
