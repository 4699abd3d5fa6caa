"""A ledger on a bench: opened, worked with, crashed and opened again."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    PauseReason,
    Refused,
    Transient,
)
from whatsapp_worker.outcome import (
    Claim,
    DeadLetter,
    Fresh,
    Job,
    Retry,
)
from whatsapp_worker.store.database import FILE_NAME, Row
from whatsapp_worker.store.ledger import SqliteLedger
from whatsapp_worker.store.schema import MIGRATIONS

NUMBER = "+5511999990001"
BROKEN = Transient(ErrorType.SERVER_ERROR, "WhatsApp answered 503")


class Bench:
    """A ledger in a directory, that can be opened again as after a crash."""

    def __init__(self, directory: Path, prefetch: int = 1) -> None:
        self.directory = directory
        self.prefetch = prefetch
        self.now = 1_000_000.0
        self.reports: list[tuple[PauseReason, str | None]] = []

    async def open(self) -> SqliteLedger:
        self.ledger = SqliteLedger(
            self.directory, self.prefetch, lambda *report: self.reports.append(report), self.clock
        )
        await self.ledger.open()
        return self.ledger

    async def crash(self) -> None:
        """Forget all that is in memory, as SIGKILL does; what was committed stays."""
        await self.ledger.close()
        await self.open()

    def clock(self) -> float:
        self.now += 1
        return self.now

    async def ask(self, delivery: Delivery, envelope: WhatsAppEnvelope | None = None) -> Claim:
        async with self.ledger.claim(delivery, envelope or message()) as claim:
            return claim

    async def fresh(self, delivery: Delivery) -> Job:
        claim = await self.ask(delivery)
        assert isinstance(claim, Fresh), claim
        return claim.job

    async def send(self, delivery: Delivery) -> Job:
        """Go all the way to SENT."""
        async with self.ledger.claim(delivery, message()) as claim:
            assert isinstance(claim, Fresh), claim
            await self.ledger.sending(claim.job)
            await self.ledger.sent(claim.job, "WA1")
            return claim.job

    async def begin(self, delivery: Delivery) -> Job:
        """Go to SENDING and no further, as a crash in mid-send does."""
        async with self.ledger.claim(delivery, message()) as claim:
            assert isinstance(claim, Fresh), claim
            await self.ledger.sending(claim.job)
            return claim.job

    async def fail(self, delivery: Delivery, error: Transient | Refused | InDoubt = BROKEN) -> Job:
        async with self.ledger.claim(delivery, message()) as claim:
            await self.ledger.sending(claim.job)
            return await self.ledger.failed(claim.job, error)

    async def retry(self, delivery: Delivery) -> Job:
        async with self.ledger.claim(delivery, message()) as claim:
            await self.ledger.sending(claim.job)
            job = await self.ledger.failed(claim.job, BROKEN)
            await self.ledger.retried(Retry(job, BROKEN, job.attempt + 1, 5.0, 5.0))
            return job

    async def kill(self, delivery: Delivery) -> Job:
        async with self.ledger.claim(delivery, message()) as claim:
            await self.ledger.sending(claim.job)
            job = await self.ledger.failed(claim.job, BROKEN)
            await self.ledger.dead(DeadLetter(job, BROKEN, job.attempt + 1))
            return job


def message(text: str = "hello", key: str | None = None, user: int = 1) -> WhatsAppEnvelope:
    return WhatsAppEnvelope.model_validate(
        {
            "user_id": str(UUID(int=user)),
            "text_message": text,
            "destination": NUMBER,
            "idempotency_key": key,
        }
    )


def keyed(**changes: object) -> Delivery:
    return replace(Delivery(b"body", Receipt(), message_id="m-1"), **changes)  # type: ignore[arg-type]  # field by field


def keyless(content: bytes = b"body") -> Delivery:
    return Delivery(content, Receipt(), fingerprint=content)


def again(delivery: Delivery, **changes: object) -> Delivery:
    """The same message, handed out once more after its channel was lost."""
    delivery.receipt.lost = True
    return replace(delivery, receipt=Receipt(), redelivered=True, **changes)  # type: ignore[arg-type]  # field by field


def copy_of(job: Job, attempt: int) -> Delivery:
    return Delivery(b"body", Receipt(), job_key=job.key, attempt=attempt, fingerprint=b"copy")


def log_of(directory: Path) -> bytes:
    """The log of the ledger there (SQLite's WAL)."""
    return (directory / f"{FILE_NAME}-wal").read_bytes()


def write_ledger_of_0_1_0(directory: Path, secret: bytes, rows: Iterable[Row]) -> None:
    """Write the ledger that whatsapp-worker 0.1.0 would have left there."""
    places = ", ".join("?" * len(Row._fields))
    with closing(sqlite3.connect(directory / FILE_NAME)) as file:
        file.executescript(f"PRAGMA synchronous = OFF; {MIGRATIONS[0]}")
        file.executemany(f"INSERT INTO jobs ({', '.join(Row._fields)}) VALUES ({places})", rows)
        file.execute("INSERT INTO secret VALUES (?)", (secret,))
        file.execute("PRAGMA user_version = 1")
        file.commit()
