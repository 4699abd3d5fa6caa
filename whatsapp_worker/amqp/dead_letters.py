"""The dead-letter queue for an operator: look, send back, throw away; order and rest stay."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from whatsapp_worker.amqp import copies
from whatsapp_worker.amqp.incoming import (
    FAILED_AT,
    Arrival,
    Origin,
    arrival_of,
    delivery_of,
    origin_of,
)
from whatsapp_worker.amqp.outbound import opened
from whatsapp_worker.amqp.publisher import PUBLISH_SECONDS, Undeliverable, send
from whatsapp_worker.amqp.session import (
    CALL_SECONDS,
    LIBRARY_ERRORS,
    Trouble,
    at_most,
    said,
)
from whatsapp_worker.delivery import Receipt
from whatsapp_worker.envelope import Rules, decode
from whatsapp_worker.errors import Invalid, Misconfigured, PauseReason, Unavailable

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

CONNECTION = "whatsapp-worker dlq"
MOST_ENTRIES = 65535
"""How many can be looked at in one go: AMQP counts what a consumer holds in 16 bits."""
MOST_CHARACTERS = copies.MAX_DETAIL_BYTES
"""What is read of a header: ours are not longer, and anybody may publish to this queue."""
SILENCE_SECONDS = 5.0
"""So long without a message, and the rest is held by somebody else who is looking."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One dead letter.  Printing it shows no contents.

    Attributes:
        position: 0 for the oldest.
        message_id: AMQP property.
        job_key: our ledger key, None if RabbitMQ moved the message here.
        error_type, error_detail: why it lies here; for a message that RabbitMQ moved here,
            found by reading it again, as the worker would today.
        failed_at, first_seen: ISO 8601, None when unknown.
        attempts, unknown_count: of sending it.
        origin_queue: where it came from.
        content_type: AMQP property.
        body: the publisher's bytes.
    """

    position: int
    message_id: str | None = field(repr=False)
    job_key: str | None
    error_type: str | None
    error_detail: str | None
    failed_at: str | None
    first_seen: str | None
    attempts: int
    unknown_count: int
    origin_queue: str | None
    content_type: str | None
    body: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one entry that was chosen for replay.

    Attributes:
        entry: the entry.
        refused: why it was left in place; None when it was sent back.
    """

    entry: Entry
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    entry: Entry
    origin: Origin
    tag: int


class DeadLetters:
    """Reads the dead-letter queue without consuming it: what is not settled takes its place again.

    Every method raises Misconfigured when there is no such queue or RabbitMQ refuses us, and
    Unavailable when RabbitMQ can not be reached.

    Args:
        settings: where the queue is, and the rules by which messages are judged.
    """

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._rules = Rules(
            max_message_bytes=settings.max_message_bytes,
            phone_check=settings.phone_check,
            content_policy=settings.content_policy,
        )

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield what lies there, oldest first, at most MOST_ENTRIES."""
        async with opened(self._settings, CONNECTION) as desk, aclosing(self._look(desk)) as held:
            async for each in held:
                yield each.entry

    async def replay(
        self,
        chosen: Callable[[Entry], bool],
        refuse: Callable[[Entry], Awaitable[str | None]],
        *,
        force: bool = False,
    ) -> AsyncGenerator[Replayed, None]:
        """Send entries back to the work queue, oldest first, each confirmed before it leaves here.

        A crash between the two leaves a second copy, which the ledger recognises by its key.

        Args:
            chosen: which entries.
            refuse: says why one must not be replayed, for instance because it was sent; or None.
            force: replay as jobs of their own, which the daemon sends whatever it has sent before.

        Yields:
            what became of each chosen entry, as it happens.
        """
        async with opened(self._settings, CONNECTION) as desk, aclosing(self._look(desk)) as held:
            async for each in held:
                if not chosen(each.entry):
                    continue
                why = await refuse(each.entry)
                if why is None:
                    key = _key_of_its_own(each.entry) if force else each.entry.job_key
                    await self._send_back(desk, each, key)
                yield Replayed(each.entry, why)

    async def drop(self, chosen: Callable[[Entry], bool]) -> AsyncGenerator[Entry, None]:
        """Delete entries for good; yields each as it goes."""
        async with opened(self._settings, CONNECTION) as desk, aclosing(self._look(desk)) as held:
            async for each in held:
                if chosen(each.entry):
                    await _settle(desk, each)
                    yield each.entry

    async def _look(self, desk: AbstractChannel) -> AsyncGenerator[_Held, None]:
        """Yield every message that was there at the start, unsettled."""
        arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        count = await self._consume(desk, arrived.put)
        for position in range(count):
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    arrival = arrival_of(await arrived.get())
            except TimeoutError:
                if desk.is_closed:
                    raise Trouble("the connection was lost while reading dead letters") from None
                return
            yield _Held(self._entry(position, arrival), origin_of(arrival), arrival.tag)

    async def _consume(
        self, desk: AbstractChannel, callback: Callable[[DeliveredMessage], Awaitable[None]]
    ) -> int:
        queue = self._settings.dead_letter_queue

        async def on_message(message: DeliveredMessage) -> None:
            await callback(message)

        try:
            async with at_most(CALL_SECONDS):
                found = await desk.queue_declare(queue, passive=True)
                count = min(found.message_count or 0, MOST_ENTRIES)
                if count:
                    await desk.basic_qos(prefetch_count=count)
                    await desk.basic_consume(queue, on_message)
        except ChannelNotFoundEntity as error:
            raise Misconfigured(
                f"there is no dead-letter queue {queue!r}: the worker makes it when it starts, in "
                "the virtual host it is set to"
            ) from error
        except LIBRARY_ERRORS as error:
            raise Trouble(f"RabbitMQ does not show its dead letters: {said(error)}") from error
        return count

    def _entry(self, position: int, arrival: Arrival) -> Entry:
        headers: dict[str, Any] = arrival.properties.headers or {}
        delivery = delivery_of(arrival, Receipt(), self._settings.max_attempts)
        error_type, detail = _text(headers, "x-error-type"), _text(headers, "x-error-detail")
        death = _first_death(headers)
        if error_type is None:
            try:
                decode(delivery, self._rules)
                reason = _text(death, "reason") or "reason unknown"
                detail = f"RabbitMQ moved it here ({reason})"[:MOST_CHARACTERS]
            except Invalid as error:
                error_type, detail = str(error.error_type), error.detail
        return Entry(
            position=position,
            message_id=delivery.message_id,
            job_key=delivery.job_key,
            error_type=error_type,
            error_detail=detail,
            failed_at=_text(headers, FAILED_AT) or _time(death.get("time")),
            first_seen=_text(headers, "x-first-seen"),
            attempts=_number(headers, "x-attempts"),
            unknown_count=_number(headers, "x-unknown-count"),
            origin_queue=_text(headers, "x-origin-queue") or _text(death, "queue"),
            content_type=delivery.content_type,
            body=delivery.body,
        )

    async def _send_back(self, desk: AbstractChannel, held: _Held, key: str | None) -> None:
        entry = held.entry
        failed_at = entry.failed_at or copies.time_text(time.time())
        copy = copies.replay_copy(held.origin, key, failed_at)
        try:
            async with at_most(PUBLISH_SECONDS):
                await send(desk, self._settings.whatsapp_queue_name, entry.body, copy)
        except Undeliverable as error:
            raise Unavailable(PauseReason.PUBLISHER, f"nothing replayed: {error.text}") from error
        except LIBRARY_ERRORS as error:
            raise Trouble(f"RabbitMQ did not confirm a replay: {said(error)}") from error
        await _settle(desk, held)


async def _settle(desk: AbstractChannel, held: _Held) -> None:
    try:
        async with at_most(CALL_SECONDS):
            await desk.basic_ack(held.tag, wait=False)
    except LIBRARY_ERRORS as error:
        raise Trouble(f"the connection was lost: {said(error)}") from error


def _key_of_its_own(entry: Entry) -> str:
    """Make a key that the ledger does not know as sent.

    Equal for equal entries: two dead letters of one job, left by a crash, are sent once by force.
    """
    name = entry.job_key or entry.message_id
    return sha256(b"forced\0" + (name.encode() if name else entry.body)).hexdigest()


def _first_death(headers: dict[str, Any]) -> dict[str, Any]:
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _text(table: dict[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value[:MOST_CHARACTERS] if isinstance(value, str) else None


def _number(table: dict[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _time(value: object) -> str | None:
    return copies.time_text(value.timestamp()) if isinstance(value, datetime) else None
