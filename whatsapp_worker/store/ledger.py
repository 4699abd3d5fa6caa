"""Which jobs were sent, which may have been, and which surely were not, across every crash."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time

from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    Invalid,
    JobError,
    PauseReason,
    Unavailable,
    failure_of,
)
from whatsapp_worker.holding import Holding
from whatsapp_worker.outcome import (
    AlreadySent,
    Claim,
    DeadLetter,
    Doubtful,
    Fresh,
    Job,
    Retry,
    Superseded,
    Unfinished,
)
from whatsapp_worker.store.database import FILE_NAME, Database, Row
from whatsapp_worker.store.file import LedgerFile
from whatsapp_worker.store.keyless import Keyless, KeylessJobs
from whatsapp_worker.store.macs import mac, name_of

OVERDUE_AFTER = 15 * 60.0
"""Seconds after which a retry copy that has not come back is called overdue (DESIGN 6)."""

UPKEEP_INTERVAL = 60.0
"""Seconds between two looks for jobs to forget and copies that are overdue."""

PATIENCE = 0.003
"""Seconds for which a result may wait to be committed with the beginning of the next job.  RabbitMQ
hands out messages in small bursts: without, the last one of each would need a commit of its own.
With 1 ms that was so on a slow machine, where reading the next burst takes as long (NOTES.md)."""

PURGE_BATCH = 50
"""Rows forgotten per commit, which takes 2 ms: each of them lies on a page of its own."""

PURGE_REST = 0.1
"""Seconds between two such commits, so that sends seldom meet one.  It leaves 500 rows a second,
where WhatsApp takes ten messages: what has gathered in a week of those is forgotten in hours."""


@dataclass(eq=False, slots=True)
class _Held:
    """A job that a claim holds, with what its row needs and no Job has."""

    name: str | None
    """Its key, if it has one by itself."""
    print: bytes
    key: str = ""
    keyless: bool = False
    over: asyncio.Event | None = None
    """Set when the claim ends, if anybody waits for that."""


class SqliteLedger:
    """The ledger in `<directory>/ledger.db`; see `ports.Ledger` for what each step promises.

    Only one process may use it at a time (session_directory.hold).

    Args:
        directory: the session directory.
        prefetch: how many deliveries may be unsettled at once.
        report: told why the ledger can not be used, and with None when it can again.
        clock: the time in Unix seconds.
    """

    def __init__(
        self,
        directory: Path,
        prefetch: int,
        report: Callable[[PauseReason, str | None], None],
        clock: Callable[[], float] = time,
    ) -> None:
        # One at a time, nothing else can come before this one is acked.
        self._file = LedgerFile(directory / FILE_NAME, report, PATIENCE if prefetch > 1 else 0.0)
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._keyless = KeylessJobs(prefetch)

    @property
    def problem(self) -> str | None:
        """Why the ledger can not be used now, in a sentence; None when it can."""
        return self._file.problem

    async def open(self) -> None:
        """Open the file; raises Misconfigured if it can not be used."""

        async def begin(database: Database) -> list[Row]:
            await database.probe()
            return await database.newest(self._keyless.reach)

        newest = await self._file.open(begin)
        self._keyless.inherit(
            Keyless(row.key, row.print, Receipt(), row.state) for row in newest if row.keyless
        )

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    async def run(self, retention: float, overdue: Callable[[int], None]) -> None:
        """Keep the ledger usable and small until cancelled.

        Args:
            retention: seconds that a job is remembered after it last changed.
            overdue: told now and then how many retry copies should have come back long ago.
        """
        while True:
            forgotten = 0
            with suppress(Unavailable):
                forgotten = await self._file.use(
                    lambda db: db.purge(self._clock() - retention, PURGE_BATCH)
                )
                overdue(await self._file.use(lambda db: db.overdue(self._clock() - OVERDUE_AFTER)))
            await self._file.mend(PURGE_REST if forgotten else UPKEEP_INTERVAL)

    # Claims -----------------------------------------------------------------------------------

    def claim(self, delivery: Delivery, envelope: WhatsAppEnvelope) -> Holding[Claim]:
        """See ports.Ledger.claim."""
        secret = self._file.usable().secret
        name = delivery.job_key or name_of(secret, delivery, envelope)
        content = envelope.canonical() if name else delivery.fingerprint
        held = _Held(name, mac(secret, content))
        return Holding(self._begin(held, delivery), lambda: self._end(held))

    async def _begin(self, held: _Held, delivery: Delivery) -> Claim:
        # Whoever has waited for a job to be over looks for its key again.
        while (key := held.name or self._key_without_name(held.print, delivery)) in self._held:
            await self._end_of(self._held[key])
        held.key, self._held[key] = key, held
        try:
            judge = self._judge if held.name else self._judge_keyless
            return await judge(key, held, delivery)
        except BaseException:
            self._end(held)
            raise

    def _end(self, held: _Held) -> None:
        del self._held[held.key]
        if held.over is not None:
            held.over.set()
        job = self._keyless.get(held.key)
        if job is not None and job.state is None:
            self._keyless.drop(job)

    async def _end_of(self, held: _Held) -> None:
        if held.over is None:
            held.over = asyncio.Event()
        await held.over.wait()

    def _key_without_name(self, print_: bytes, delivery: Delivery) -> str:
        match = self._keyless.match(print_, delivery)
        return match.key if match and not match.doubtful else secrets.token_hex(32)

    async def _judge_keyless(self, key: str, held: _Held, delivery: Delivery) -> Claim:
        job = self._keyless.get(key)
        if job is not None:
            job.receipt, job.inherited = delivery.receipt, False
            return await self._judge(key, held, delivery)
        fresh = Job(key, first_seen=self._clock())
        doubtful = self._keyless.match(held.print, delivery)
        new = self._keyless.add(key, held.print, delivery)
        if doubtful is not None:
            self._keyless.drop(doubtful)
            return Doubtful(fresh)
        if not delivery.redelivered:
            await self._tell_apart(new)
        return Fresh(fresh)

    async def _tell_apart(self, new: Keyless) -> None:
        """See to it that a first delivery is not taken for an earlier one like it, later on."""
        for other in self._keyless.like(new):
            # What has to return returns before anything is delivered for the first time, so what
            # an earlier process left has been settled, or has come already.
            if other.receipt.ack_proven or other.inherited:
                self._keyless.drop(other)
                await self._file.use(partial(Database.settle, key=other.key))

    async def _judge(self, key: str, held: _Held, delivery: Delivery) -> Claim:
        row = await self._file.get(key)
        if row is None:
            return Fresh(Job(key, delivery.attempt, first_seen=self._clock()))
        if row.print != held.print and delivery.job_key is None:
            raise Invalid(
                ErrorType.KEY_CONFLICT,
                "its idempotency_key or AMQP message_id was used before for a message with other "
                "content: give every message a key of its own",
            )
        held.print, held.keyless = row.print, row.keyless
        job = Job(key, row.attempt, row.unknown_count, row.first_seen)
        match row.state:
            case "SENT":
                return AlreadySent(job)
            case "DEAD":
                return await self._after_death(job, delivery)
            case _ if delivery.attempt < row.attempt:
                return Superseded(job)
            case "SENDING":
                return Doubtful(job)
            case "FAILED" if delivery.attempt == row.attempt:
                error = failure_of(
                    ErrorType(row.error_type or ErrorType.INTERNAL), row.error_detail or ""
                )
                return Unfinished(job, error)
            case _:
                return Fresh(replace(job, attempt=delivery.attempt))

    async def _after_death(self, job: Job, delivery: Delivery) -> Claim:
        published_anew = not delivery.redelivered and delivery.job_key is None
        if not (delivery.replay or published_anew):
            return Superseded(job)
        fresh = Job(job.key, first_seen=self._clock())
        # Committed now: should this delivery come again, it must not be taken for the dead one.
        await self._put(fresh, "NEW")
        return Fresh(fresh)

    # Transitions ------------------------------------------------------------------------------

    async def sending(self, job: Job) -> None:
        """See ports.Ledger.sending."""
        await self._put(job, "SENDING")

    async def unsent(self, job: Job) -> None:
        """See ports.Ledger.unsent."""
        await self._put(job, "NEW", owed=True)

    async def sent(self, job: Job, whatsapp_id: str) -> None:
        """See ports.Ledger.sent."""
        await self._put(job, "SENT", owed=True, whatsapp_id=whatsapp_id)

    async def failed(self, job: Job, error: JobError) -> Job:
        """See ports.Ledger.failed."""
        if isinstance(error, InDoubt):
            job = replace(job, unknown_count=job.unknown_count + 1)
        await self._put(job, "FAILED", owed=True, error=error)
        return job

    async def retried(self, retry: Retry) -> None:
        """See ports.Ledger.retried."""
        job = replace(retry.job, attempt=retry.attempt)
        await self._put(job, "RETRY", error=retry.error, due_at=self._clock() + retry.delay)

    async def dead(self, letter: DeadLetter) -> None:
        """See ports.Ledger.dead."""
        await self._put(letter.job, "DEAD", error=letter.error)

    async def _put(
        self,
        job: Job,
        state: str,
        *,
        owed: bool = False,
        whatsapp_id: str | None = None,
        error: JobError | None = None,
        due_at: float | None = None,
    ) -> None:
        held, keyless = self._held[job.key], self._keyless.get(job.key)
        row = Row(
            key=job.key,
            print=held.print,
            keyless=keyless is not None or held.keyless,
            state=state,
            attempt=job.attempt,
            unknown_count=job.unknown_count,
            whatsapp_id=whatsapp_id,
            error_type=error.error_type if error else None,
            error_detail=error.detail if error else None,
            first_seen=job.first_seen,
            updated_at=self._clock(),
            due_at=due_at,
        )
        await self._file.put(row, owed=owed)
        if keyless is not None:
            keyless.state = state
