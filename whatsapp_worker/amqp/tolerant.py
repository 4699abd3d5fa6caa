"""Reading AMQP properties of any kind: one bad message must not end a connection.

pamqp raises on a property it cannot decode, and the connection dies of it.  The message then comes
back at once, for ever on a classic queue (measured on RabbitMQ 3.10.8: five dead connections in
five seconds, and the good message behind it never seen).  Here such a property is read as absent
and its name is kept, so that the job can be refused by name (DESIGN 3).
"""

from collections.abc import Callable
from typing import Any

from pamqp import commands, decode

_SIZE: dict[str, Callable[[bytes], int]] = {
    "shortstr": lambda data: 1 + data[0],
    "table": lambda data: 4 + int.from_bytes(data[:4], "big"),
    "timestamp": lambda _: 8,
    "octet": lambda _: 1,
}
_IN_ORDER = [
    (name, commands.Basic.Properties.flags[name], kind, _SIZE[kind])
    for name in commands.Basic.Properties.attributes()
    for kind in [commands.Basic.Properties.amqp_type(name)]
]


def install() -> None:
    """Make pamqp tolerant.  Doing it again changes nothing.

    There is no hook in aiormq for this: it calls `pamqp.frame.unmarshal` by its full name.
    """
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[method-assign, assignment]  # The point.
    decode.METHODS["shortstr"] = _short_str


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
    for name, flag, kind, size_of in _IN_ORDER:
        if flags & flag:
            size = size_of(data or b"\0\0\0\0")
            try:
                setattr(properties, name, _read(kind, data[:size]))
            except (ValueError, ArithmeticError, LookupError, OSError, RecursionError):
                # Bad UTF-8, a date beyond the calendar, an unknown type code, a nested table that
                # ends nowhere, or one so deep that reading it exhausts the stack.
                broken.append("type" if name == "message_type" else name)
            data = data[size:]
    properties.repaired = tuple(broken)


def _read(kind: str, raw: bytes) -> object:
    if kind == "shortstr":
        return decode.short_str(raw)[1]
    return decode.by_type(raw, kind)[1]
