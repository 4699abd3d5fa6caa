"""Reading AMQP properties of any kind: one bad message must not end a connection.

pamqp raises on a property it cannot decode, and the connection dies of it.  The message then comes
back at once, for ever on a classic queue (measured on RabbitMQ 3.10.8: five dead connections in
five seconds, and the good message behind it never seen).  Here such a property is read as absent
and its name is kept, so that the job can be refused by name (DESIGN 3).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pamqp import commands, decode

EndOf = Callable[[bytes, int], int]
Read = Callable[[bytes], object]


def install() -> None:
    """Make pamqp tolerant.  Doing it again changes nothing.

    There is no hook in aiormq for this: it calls `pamqp.frame.unmarshal` by its full name.
    """
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[method-assign, assignment]  # The point.
    decode.METHODS["shortstr"] = _short_str


def read(raw: bytes) -> commands.Basic.Properties:
    """Read properties as they stand in a content header, their flags before them; never raises."""
    properties = commands.Basic.Properties()
    flags = at = 0
    for at in range(0, len(raw), 2):  # Bit 0 of a word of flags says that another one follows.
        word = int.from_bytes(raw[at : at + 2], "big")
        flags |= word << (8 * at)
        if not word & 1:
            break
    _unmarshal(properties, flags, raw[at + 2 :])
    return properties


def repaired(properties: commands.Basic.Properties) -> tuple[str, ...]:
    """Name the properties that could not be decoded as they were sent."""
    return getattr(properties, "repaired", ())


def _short_str(value: bytes) -> tuple[int, str]:
    """Read the short string of a method frame, such as a routing key, which publishers choose."""
    if not value:
        raise ValueError("no short string")  # As pamqp: aiormq expects nothing else.
    end = 1 + value[0]
    return end, value[1:end].decode("utf-8", "backslashreplace")


def _unmarshal(properties: Any, flags: int, data: bytes) -> None:
    """Stand in for `Basic.Properties.unmarshal`: what cannot be read stays None and is named."""
    broken = []
    at = 0
    for name, end_of, value_of in _announced(flags):
        end = end_of(data, at)
        try:
            setattr(properties, name, value_of(data[at:end]))
        except (ValueError, ArithmeticError, LookupError, OSError, RecursionError):
            # Bad UTF-8, a date beyond the calendar, an unknown type code, a nested table that
            # ends nowhere, or one so deep that reading it exhausts the stack.
            broken.append("type" if name == "message_type" else name)
        at = end
    properties.repaired = tuple(broken)


def _text(raw: bytes) -> str:
    if not raw:
        raise ValueError("no short string")
    return raw[1:].decode()


_KINDS: dict[str, tuple[EndOf, Read]] = {
    "shortstr": (lambda data, at: at + 1 + data[at] if at < len(data) else at, _text),
    "table": (
        lambda data, at: at + 4 + int.from_bytes(data[at : at + 4], "big"),
        lambda raw: decode.field_table(raw)[1],
    ),
    "timestamp": (lambda _, at: at + 8, lambda raw: decode.timestamp(raw)[1]),
    "octet": (lambda _, at: at + 1, lambda raw: raw[0]),
}
_IN_ORDER = [
    (
        name,
        commands.Basic.Properties.flags[name],
        *_KINDS[commands.Basic.Properties.amqp_type(name)],
    )
    for name in commands.Basic.Properties.attributes()
]


@lru_cache(maxsize=64)
def _announced(flags: int) -> list[tuple[str, EndOf, Read]]:
    """The properties that these flags announce: the same few for nearly every message."""
    return [(name, end_of, value_of) for name, flag, end_of, value_of in _IN_ORDER if flags & flag]
