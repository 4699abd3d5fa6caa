"""AMQP properties as no client library would write them, but any peer may."""

import struct
from dataclasses import dataclass

from pamqp.commands import Basic


@dataclass(frozen=True, slots=True)
class Poison:
    """A content header's properties, as bytes.

    Attributes:
        name: of this case, for a test's id.
        broken: the properties that can not be read, as `Delivery.repaired` names them.
        raw: flags and properties.
    """

    name: str
    broken: tuple[str, ...]
    raw: bytes


class RawProperties(Basic.Properties):
    """Properties that marshal to the bytes they are given."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(message_id="not sent")
        self.raw = raw

    def marshal(self) -> bytes:
        return self.raw


def short(value: bytes) -> bytes:
    """An AMQP short string."""
    return bytes([len(value)]) + value


def table(raw: bytes) -> bytes:
    """An AMQP field table of raw entries."""
    return struct.pack(">I", len(raw)) + raw


def flagged(*properties: tuple[str, bytes]) -> bytes:
    """Flags and values, in the order the protocol wants."""
    flags = sum(Basic.Properties.flags[name] for name, _ in properties)
    return struct.pack(">H", flags) + b"".join(value for _, value in properties)


def deep(levels: int) -> bytes:
    """A table in a table in a table."""
    raw = b""
    for _ in range(levels):
        raw = b"\x01kF" + table(raw)
    return table(raw)


BAD = b"\xff\xfe\xfa"
NUMBER = b"\x01nI" + struct.pack(">i", 7)

POISONS = (
    Poison("message_id", ("message_id",), flagged(("message_id", short(BAD)))),
    Poison("content_type", ("content_type",), flagged(("content_type", short(BAD)))),
    Poison("type", ("type",), flagged(("message_type", short(BAD)))),
    Poison(
        "many at once",
        ("content_encoding", "correlation_id", "reply_to", "app_id"),
        flagged(
            ("content_encoding", short(BAD)),
            ("correlation_id", short(BAD)),
            ("reply_to", short(BAD)),
            ("app_id", short(BAD)),
        ),
    ),
    Poison("timestamp beyond time", ("timestamp",), flagged(("timestamp", b"\xff" * 8))),
    Poison(
        "timestamp in nanoseconds",
        ("timestamp",),
        flagged(("timestamp", struct.pack(">Q", 1_700_000_000 * 10**9))),
    ),
    Poison("header key", ("headers",), flagged(("headers", table(short(BAD) + NUMBER[2:])))),
    Poison(
        "header time beyond time",
        ("headers",),
        flagged(("headers", table(b"\x01tT" + b"\xff" * 8))),
    ),
    Poison("header nested deep", ("headers",), flagged(("headers", deep(5000)))),
    Poison(
        "broken headers before a good message id",
        ("headers",),
        flagged(("headers", table(short(BAD) + NUMBER[2:])), ("message_id", short(b"good"))),
    ),
)

ODD_BUT_READABLE = (
    Poison(
        "timestamp in ms",
        (),
        flagged(("timestamp", struct.pack(">Q", 1_700_000_000 * 1000))),
    ),
    Poison("priority 255", (), flagged(("priority", b"\xff"))),
    Poison("delivery mode 0", (), flagged(("delivery_mode", b"\x00"))),
    Poison("delivery mode 255", (), flagged(("delivery_mode", b"\xff"))),
    Poison(
        "header value not text",
        (),
        flagged(("headers", table(b"\x01xS" + struct.pack(">I", 3) + BAD))),
    ),
    Poison(
        "five hundred headers",
        (),
        flagged(("headers", table(b"".join(short(b"h%d" % n) + NUMBER[2:] for n in range(500))))),
    ),
    Poison("empty message id", (), flagged(("message_id", short(b"")))),
)
