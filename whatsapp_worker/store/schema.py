"""The tables of the ledger's file, and all that is done to it before the first job."""

import logging
import secrets
import shutil
from pathlib import Path

import aiosqlite

from whatsapp_worker.errors import Misconfigured

log = logging.getLogger(__name__)

LOG_PAGES = 1000
"""Pages that SQLite lets its log grow to before it moves them into the file: its default."""

ROOM_FOR_LOG = 64 << 20
"""Bytes that have to be free on a disk before it is made to hold a log of full size, 4 MiB."""

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        key TEXT PRIMARY KEY,          -- MAC of user and key, or random: reveals nothing
        print BLOB NOT NULL,           -- MAC of the content, tells other content apart
        keyless INTEGER NOT NULL,      -- its delivery has no key and may come again
        state TEXT NOT NULL,           -- NEW, SENDING, SENT, FAILED, RETRY or DEAD
        attempt INTEGER NOT NULL,      -- failed attempts so far
        unknown_count INTEGER NOT NULL,-- sends of it that ended without an answer
        whatsapp_id TEXT,              -- once it is SENT
        error_type TEXT,               -- of the last failure
        error_detail TEXT,
        first_seen REAL NOT NULL,      -- Unix seconds, as are the next two
        updated_at REAL NOT NULL,
        due_at REAL                    -- when its retry copy comes back, while it is RETRY
    ) WITHOUT ROWID;
    CREATE INDEX jobs_by_age ON jobs (updated_at);
    CREATE INDEX jobs_by_due ON jobs (due_at) WHERE due_at IS NOT NULL;
    CREATE TABLE secret (value BLOB NOT NULL);
    """,
    # In the order of their beginning: the end of one job and the beginning of the next are mostly
    # on one page, and no index by age has to be kept for the sake of forgetting them.
    # Keys are bytes, not digits: half as long an index, of which each job needs another page.
    """
    CREATE TABLE ordered (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        print BLOB NOT NULL,
        keyless INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        unknown_count INTEGER NOT NULL,
        whatsapp_id TEXT,
        error_type TEXT,
        error_detail TEXT,
        first_seen REAL NOT NULL,
        updated_at REAL NOT NULL,
        due_at REAL
    );
    INSERT INTO ordered SELECT NULL, unhex(key), print, keyless, state, attempt, unknown_count,
        whatsapp_id, error_type, error_detail, first_seen, updated_at, due_at
        FROM jobs ORDER BY updated_at;
    DROP TABLE jobs;
    ALTER TABLE ordered RENAME TO jobs;
    CREATE INDEX jobs_by_due ON jobs (due_at) WHERE due_at IS NOT NULL;
    """,
)
"""Step n takes a file from `user_version` n to n + 1; a step that was released never changes."""

_TOUCH = "PRAGMA application_id = 1; PRAGMA application_id = 0;"
_GROW_LOG = f"""
    PRAGMA wal_autocheckpoint = 0;
    {_TOUCH}
    PRAGMA synchronous = OFF;
    {_TOUCH * (LOG_PAGES // 2)}
    PRAGMA synchronous = FULL;
    PRAGMA wal_checkpoint(RESTART);
    PRAGMA wal_autocheckpoint = {LOG_PAGES};
"""
"""Makes the log as long as it gets.  It is deleted whenever the ledger is closed, and as long as
it grows, each commit waits for the file system to note that: 190 to 230 us instead of 110 to 140
(benchmarks/NOTES.md).  Each change of the first page is one page of the log.  While SQLite does not
wait for the disk, nothing else is written, the log is not begun anew (the first change does that,
where it has to be), and nothing is moved into the file."""


async def prepare(connection: aiosqlite.Connection, path: Path) -> bytes:
    """Bring a file up to date, and have every commit wait for the disk.

    Returns:
        The secret of this ledger, for the MACs in it.

    Raises:
        Misconfigured: it was written by a newer worker.
        sqlite3.Error, OSError: it can not be used.
    """
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute("PRAGMA synchronous = FULL")
    await _migrate(connection, path)
    if shutil.disk_usage(path.parent).free > ROOM_FOR_LOG:
        await connection.executescript(_GROW_LOG)
    ((secret,),) = await connection.execute_fetchall("SELECT value FROM secret")
    return bytes(secret)


async def _migrate(connection: aiosqlite.Connection, path: Path) -> None:
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    if version > len(MIGRATIONS):
        raise Misconfigured(
            f"{path.name} was written by a newer whatsapp-worker (format {version}, this one "
            f"knows {len(MIGRATIONS)}): run that version, or start with another directory"
        )
    # SQLite has one of its own since 3.41; Debian 12 has 3.40.
    await connection.create_function("unhex", 1, bytes.fromhex, deterministic=True)
    if 0 < version < len(MIGRATIONS):
        log.info("bringing the ledger to a new form: about 20 s for a million jobs")
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        await connection.executescript(f"BEGIN; {step}; PRAGMA user_version = {number}; COMMIT;")
    await connection.execute(
        "INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT * FROM secret)",
        (secrets.token_bytes(32),),
    )
