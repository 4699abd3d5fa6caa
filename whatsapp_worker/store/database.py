"""The ledger's SQLite file: private, durable, brought up to date, and read row by row."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Self

import aiosqlite

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.store.schema import prepare

FILE_NAME = "ledger.db"

LOOK_SECONDS = 0.01
"""How often a busy ledger looks whether its file still is in its place."""


class Row(NamedTuple):
    """One job; the columns are explained in schema.MIGRATIONS.  On the disk a key is 32 bytes."""

    key: str
    print: bytes
    keyless: bool
    state: str
    attempt: int
    unknown_count: int
    whatsapp_id: str | None
    error_type: str | None
    error_detail: str | None
    first_seen: float
    updated_at: float
    due_at: float | None


_COLUMNS = ", ".join(Row._fields)
_PUT = f"INSERT INTO jobs ({_COLUMNS}) VALUES "  # noqa: S608  Our own column names.
_PLACES = f"({', '.join('?' * 12)})"
_OR_UPDATE = " ON CONFLICT (key) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in Row._fields[1:]
)
_PROBE = """
    BEGIN IMMEDIATE;
    INSERT OR REPLACE INTO jobs (key, print, keyless, state, attempt, unknown_count, first_seen,
        updated_at, due_at) VALUES (x'', x'', 0, 'NEW', 0, 0, 0, 0, 0);
    DELETE FROM jobs WHERE key = x'';
    COMMIT;
"""
_SELECT = f"SELECT {_COLUMNS} FROM jobs "  # noqa: S608  As above.
_GET = _SELECT + "WHERE key = ?"


class Database:
    """The open file.  Every method raises sqlite3.Error when the file can not be used.

    WAL with synchronous=FULL: what was committed survives a power cut (DESIGN 6, W10).  What is
    awaited runs on the file's own thread, all else at once on the caller's: only one of them may
    be at it at a time.
    """

    def __init__(
        self, connection: aiosqlite.Connection, file: sqlite3.Connection, secret: bytes, path: Path
    ) -> None:
        self._connection = connection
        self._file = file
        self._path = str(path)
        self._identity = _identity(self._path)
        self._look_again = 0.0
        self.secret = secret

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file, make it if it is not there, and bring it up to date.

        Raises:
            Misconfigured: it was written by a newer worker.
            sqlite3.Error, OSError: it can not be used.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's -wal copies the mode.
        files: list[sqlite3.Connection] = []

        def connect() -> sqlite3.Connection:
            files.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            return files[0]

        connection = await aiosqlite.Connection(connect, iter_chunk_size=64)
        try:
            await connection.execute("PRAGMA busy_timeout = 500")
            secret = await prepare(connection, path)
            return cls(connection, files[0], secret, path)
        except BaseException:
            await connection.close()
            raise

    async def close(self) -> None:
        """Close the file."""
        await self._connection.close()

    def get(self, key: str) -> list[Row]:
        """Read one job; nothing if it is not there."""
        return [*map(_row, self._file.execute(_GET, (bytes.fromhex(key),)))]

    async def get_on_thread(self, key: str) -> list[Row]:
        """See `get`."""
        found = await self._connection.execute_fetchall(_GET, (bytes.fromhex(key),))
        return [*map(_row, found)]

    def put(self, rows: Sequence[Row]) -> bool:
        """Write some jobs in one commit; durable when this returns (True)."""
        self._see_to_its_place()
        self._file.execute(*_insert(rows))
        return True

    async def put_on_thread(self, rows: Sequence[Row]) -> bool:
        """See `put`."""
        self._see_to_its_place()
        await self._connection.execute_fetchall(*_insert(rows))
        return True

    def _see_to_its_place(self) -> None:
        now = monotonic()
        if now < self._look_again:
            return
        self._look_again = now + LOOK_SECONDS
        if not self.in_place:
            raise FileNotFoundError("its file was deleted or replaced")

    async def settle(self, key: str) -> None:
        """Keep that the delivery of a keyless job does not come again."""
        await self._connection.execute(
            "UPDATE jobs SET keyless = FALSE WHERE key = ?", (bytes.fromhex(key),)
        )

    async def probe(self) -> None:
        """Write as a job does and take it back: finds a disk that is full or read-only.

        An update that changes nothing would not do: SQLite writes nothing then (measured).
        """
        await self._connection.executescript(_PROBE)

    async def check(self) -> None:
        """Look at every page: a damaged one would else hold up the first job that needs it."""
        ((said,),) = await self._connection.execute_fetchall("PRAGMA quick_check(1)")
        if said != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")

    @property
    def in_place(self) -> bool:
        """Whether the open file still is the one of its name.

        SQLite works on with a file that was deleted or replaced, and the next start would know
        nothing of what is written to it.
        """
        try:
            return _identity(self._path) == self._identity
        except FileNotFoundError:
            return False

    async def copy_to(self, path: Path) -> None:
        """Write all that is committed into a new file; durable when this returns."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            await self._connection.execute("VACUUM INTO ?", (str(path),))
            os.fsync(file)
        finally:
            os.close(file)

    async def newest(self, count: int) -> list[Row]:
        """Read the jobs that began last, the oldest of them first."""
        newest = _SELECT + "ORDER BY id DESC LIMIT ?"
        found = await self._connection.execute_fetchall(newest, (count,))
        return [_row(columns) for columns in found][::-1]

    async def purge(self, before: float, count: int) -> int:
        """Forget those of the oldest `count` jobs that last changed before a time.

        Returns:
            How many those are; 0 says that the rest may stay: it began later.  (Old jobs that were
            replayed hold it up until they are old again: for one more retention at most.)
        """
        self._see_to_its_place()
        cursor = await self._connection.execute(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs ORDER BY id LIMIT ?)"
            " AND updated_at < ?",
            (count, before),
        )
        return cursor.rowcount

    async def overdue(self, due_before: float) -> int:
        """Count the retry copies that should have come back before a time."""
        ((count,),) = await self._connection.execute_fetchall(
            "SELECT COUNT(*) FROM jobs WHERE due_at < ?", (due_before,)
        )
        return int(count)


def _row(columns: Sequence[Any]) -> Row:
    return Row(columns[0].hex(), columns[1], bool(columns[2]), *columns[3:])


def _insert(rows: Sequence[Row]) -> tuple[str, list[object]]:
    statement = _PUT + ", ".join([_PLACES] * len(rows)) + _OR_UPDATE
    return statement, [value for row in rows for value in (bytes.fromhex(row.key), *row[1:])]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116  Before every use: a Path would take three times as long.
    return status.st_dev, status.st_ino


def sent_keys(path: Path, keys: Iterable[str]) -> frozenset[str]:
    """Which of these keys the ledger in the file `path` holds as sent; opens it read-only.

    Raises:
        Misconfigured: the file is not a ledger or can not be read.
    """
    query = "SELECT key FROM jobs WHERE key = ? AND state = 'SENT'"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            return frozenset(
                key for key in keys if file.execute(query, (bytes.fromhex(key),)).fetchone()
            )
    except sqlite3.Error as error:
        raise Misconfigured(f"the ledger {path} can not be read: {error}") from None
