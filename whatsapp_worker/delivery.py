"""One message as RabbitMQ handed it over, before anybody has judged it."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

trace: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the delivery that the current task works on, for all its log lines."""


@dataclass(eq=False, slots=True)
class Receipt:
    """How the broker knows one delivery, and what is known of its acknowledgement.

    The broker's adapter owns and changes it; everyone else only reads it.

    Attributes:
        lost: given back, or its channel has ended: RabbitMQ will hand the message out again.
        acked: our ack was written; RabbitMQ may have processed it, or may never have seen it.
        ack_proven: RabbitMQ has surely processed our ack, so the message can not come again.
    """

    lost: bool = False
    acked: bool = False
    ack_proven: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as RabbitMQ handed it over.  Printing it shows no body and no header values.

    Attributes:
        body: the raw bytes, unchecked.
        receipt: the broker's handle on it.
        message_id, content_type, content_encoding: AMQP properties, None when absent.
        timestamp: the publisher's own clock (AMQP property), None when absent.
        redelivered: RabbitMQ says it has handed this message out before.
        repaired: names of the AMQP properties that could not be decoded as sent.
        job_key: our ledger key, present on our own copies only (`x-job-key`).
        attempt: failed attempts so far (`x-attempt`), 0 unless it is one of our own copies.
        replay: it has been in the dead-letter queue before (`x-failed-at`).
        trace_id: 32 hex digits, from `traceparent` or made here.
        trace_parent: the publisher's `traceparent`, None when it gave no valid one.
        fingerprint: body, properties and headers as bytes: what tells it from other messages where
            neither `message_id` nor `job_key` does; empty where one of them does.
    """

    body: bytes = field(repr=False)
    receipt: Receipt = field(default_factory=Receipt, compare=False, repr=False)
    message_id: str | None = field(default=None, repr=False)
    content_type: str | None = None
    content_encoding: str | None = None
    timestamp: datetime | None = None
    redelivered: bool = False
    repaired: tuple[str, ...] = ()
    job_key: str | None = None
    attempt: int = 0
    replay: bool = False
    trace_id: str = ""
    trace_parent: str | None = field(default=None, repr=False)
    fingerprint: bytes = field(default=b"", repr=False)
