"""The ledger's file as something that can fail for a while, and come back by itself."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from whatsapp_worker.errors import Misconfigured, PauseReason, Unavailable
from whatsapp_worker.store.batches import RETRY_AFTER, Batches
from whatsapp_worker.store.database import Database, Row

log = logging.getLogger(__name__)

T = TypeVar("T")


class LedgerFile:
    """Uses the database while it works, and opens it anew when it does not.

    Args:
        path: the database file.
        report: told why the ledger can not be used, and with None when it can again.
    """

    def __init__(self, path: Path, report: Callable[[PauseReason, str | None], None]) -> None:
        self._path = path
        self._report = report
        self._database: Database | None = None
        self._broken = asyncio.Event()
        self._reads = Batches[str, Row | None](lambda keys: self.use(lambda db: db.get(keys)))
        self._writes = Batches[Row, None](lambda rows: self.use(lambda db: db.put(rows)))
        self.problem: str | None = None

    async def open(self, first: Callable[[Database], Awaitable[T]]) -> T:
        """Open the file and do a first piece of work; raises Misconfigured if that fails."""
        try:
            self._database = await Database.open(self._path)
            done = await first(self._database)
            await self._database.check()
        except (sqlite3.Error, OSError) as error:
            await self._let_go()
            raise Misconfigured(self._sentence(error)) from None
        return done

    async def close(self) -> None:
        """Close the file; what could not be written so far is not."""
        await self._reads.close()
        await self._writes.close()
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
        """Do some work with the database; raises Unavailable if that fails."""
        database = self.usable()
        try:
            if not database.in_place:
                raise FileNotFoundError("its file was deleted or replaced")
            return await work(database)
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: closed by `mend`.
            self._fault(error)
            raise Unavailable(PauseReason.LEDGER, str(error)) from error

    async def get(self, key: str) -> Row | None:
        """Read one job; raises Unavailable."""
        self.usable()
        return await self._reads.ask(key)

    async def put(self, row: Row) -> None:
        """Commit one job, behind all that was given earlier; raises Unavailable."""
        self.usable()
        await self._writes.ask(row)

    async def insist(self, row: Row) -> None:
        """Commit what has happened already, however long it takes: to forget it would lie.

        And before anything that is given later: nothing new begins upon a state that is not kept.
        """
        await self._writes.ask(row, owed=True)

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

    def _fault(self, error: Exception) -> None:
        self.problem = str(error) if isinstance(error, Misconfigured) else self._sentence(error)
        self._report(PauseReason.LEDGER, self.problem)
        self._broken.set()

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
