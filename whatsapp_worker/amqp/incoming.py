"""From a message as it arrives to a `Delivery`: pure, and total over whatever is published."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from whatsapp_worker.amqp import tolerant
from whatsapp_worker.delivery import Delivery, Receipt

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

JOB_KEY, ATTEMPT, FAILED_AT, TRACE_PARENT = "x-job-key", "x-attempt", "x-failed-at", "traceparent"

_KEY = re.compile("[0-9a-f]{64}", re.ASCII)
_TRACE = re.compile("(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_IDS = Random()  # noqa: S311  No secrets: they tell traces apart, and cost no call to the kernel.
_UNSTABLE = ("x-delivery-count", "x-death")


@dataclass(slots=True)
class Arrival:
    """A message as it arrives.

    Attributes:
        tag: its number on its channel.
        redelivered: RabbitMQ says it has handed this message out before.
        exchange: the exchange it was published to; "" is the default exchange.
        properties: as decoded, with None for whatever could not be.
        body: the raw bytes.
    """

    tag: int
    redelivered: bool
    exchange: str
    properties: Basic.Properties = field(repr=False)
    body: bytes = field(repr=False)


def arrival_of(message: "DeliveredMessage") -> Arrival:
    """Take over what aiormq hands over."""
    redelivered = bool(getattr(message.delivery, "redelivered", False))
    exchange, properties = message.exchange or "", message.header.properties
    return Arrival(message.delivery_tag or 0, redelivered, exchange, properties, message.body)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a delivery came from, and the properties that its copies inherit.

    Attributes:
        exchange: the exchange it was published to; "" is the default exchange.
        properties: as decoded, with None for whatever could not be.
    """

    exchange: str
    properties: Basic.Properties


def origin_of(arrival: Arrival) -> Origin:
    """Keep of a message what its copies will need."""
    return Origin(arrival.exchange, arrival.properties)


def delivery_of(arrival: Arrival, receipt: Receipt, max_attempts: int) -> Delivery:
    """Read one message.  Never raises, whatever its properties are.

    Our own headers are believed only on messages that came through the default exchange, because
    that is where our retry ladder and our replays come from, and publishers use the named one.

    Args:
        arrival: the message.
        receipt: the broker's handle on it.
        max_attempts: the greatest believable `x-attempt`.
    """
    properties = arrival.properties
    headers = _table(properties.headers)
    own = headers if arrival.exchange == "" else {}
    parent = trace_parent(headers.get(TRACE_PARENT))
    trace = trace_id(parent) or f"{_IDS.getrandbits(128):032x}"
    message_id, job_key = properties.message_id or None, _job_key(own.get(JOB_KEY))
    named = message_id or job_key
    return Delivery(
        body=arrival.body,
        receipt=receipt,
        message_id=message_id,
        content_type=properties.content_type or None,
        content_encoding=properties.content_encoding or None,
        timestamp=timestamp_of(properties),
        redelivered=arrival.redelivered,
        repaired=tolerant.repaired(properties),
        job_key=job_key,
        attempt=_attempt(own.get(ATTEMPT), max_attempts),
        replay=FAILED_AT in own,
        trace_id=trace,
        trace_parent=None if parent == made_trace_parent(trace) else parent,
        fingerprint=b"" if named else _fingerprint(arrival.body, properties, headers),
    )


def timestamp_of(properties: Basic.Properties) -> datetime | None:
    """Return the publisher's own clock, None when it gave none."""
    return properties.timestamp if isinstance(properties.timestamp, datetime) else None


def trace_parent(value: object) -> str | None:
    """Return a W3C `traceparent` (version 00 layout) if that is what the header holds."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes | bytearray) else value
    if not isinstance(text, str) or not (match := _TRACE.fullmatch(text)):
        return None
    return text if int(match[1], 16) and int(match[2], 16) else None


def trace_id(value: object) -> str | None:
    """Return the trace id of a `traceparent` header, None when there is no valid one."""
    text = trace_parent(value)
    return text[3:35] if text else None


def made_trace_parent(trace_id: str) -> str:
    """Make the `traceparent` of a copy whose message came without one.

    It names no span that exists, and its span id says so: it is the beginning of the trace id.
    """
    return f"00-{trace_id}-{trace_id[:16]}-00"


def _table(headers: Any) -> dict[str, Any]:
    return headers if isinstance(headers, dict) else {}


def _job_key(value: object) -> str | None:
    return value if isinstance(value, str) and _KEY.fullmatch(value) else None


def _attempt(value: object, most: int) -> int:
    believable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    return int(value) if believable else 0  # type: ignore[call-overload]  # An int, as just seen.


def _fingerprint(body: bytes, properties: Basic.Properties, headers: dict[str, Any]) -> bytes:
    """Tell messages apart by everything that stays the same when RabbitMQ delivers one again."""
    stable = [(key, headers[key]) for key in sorted(headers) if key not in _UNSTABLE]
    described = [(name, value) for name, value in properties if name != "headers"]
    digest = sha256(repr((described, stable)).encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + body)
    return digest.digest()
