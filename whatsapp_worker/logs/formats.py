"""How one log record becomes one line: JSON for log stores, text for people; both masked."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from whatsapp_worker import __version__
from whatsapp_worker.delivery import trace
from whatsapp_worker.masking import mask, mask_field

SERVICE = "whatsapp-worker"
OURS = frozenset({"level", "logger", "service", "version", "env", "exception", "stack"})
"""Fields of every line that an `extra` of the same name must not replace."""

_TO_JSON = json.JSONEncoder().encode
"""What was masked is of plain JSON types; `json.dumps` would make an encoder for every line."""

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_NOT_REPEATED = frozenset({*RESERVED_ATTRS, "timestamp", "event"})
"""What a readable line says elsewhere, or not at all."""


class JsonLines(JsonFormatter):
    """One flat JSON object per line, pure ASCII, every value masked.

    Args:
        env: what the `env` field says.
    """

    def __init__(self, env: str) -> None:
        super().__init__(
            ["timestamp", "levelname", "name", "message"],
            rename_fields={
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            static_fields={"service": SERVICE, "version": __version__, "env": env},
            reserved_attrs=[*RESERVED_ATTRS, *OURS],
            json_serializer=lambda fields, **_: _TO_JSON(fields),
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        return super().format(_complete(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Mask everything but the time, which is ours."""
        return {
            _masked_name(name): value if name == "timestamp" else mask_field(name, value)
            for name, value in log_data.items()
        }


class ReadableLines(logging.Formatter):
    """One line for a person at a terminal; what has more lines follows indented.

    Args:
        colour: whether warnings and errors are coloured.
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colours = _COLOURS if colour else {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as readable text."""
        record = _complete(record)
        moment = datetime.fromtimestamp(record.created).astimezone()
        level = f"{record.levelname:<8}"
        if colour := self._colours.get(record.levelname):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        first, *others = _safe(mask(record.msg)).split("\n")
        text = " ".join(
            (f"{moment:%H:%M:%S.%f}"[:-3], level, f"{_word(record.name)}:", first, *_pairs(record))
        )
        if record.exc_info:
            others += _safe(mask(self.formatException(record.exc_info))).split("\n")
        if record.stack_info:
            others += _safe(mask(record.stack_info)).split("\n")
        return "\n    ".join([text, *others])


_masked_name = lru_cache(maxsize=1024)(mask)
"""The same few names are in every line."""


def _pairs(record: logging.LogRecord) -> Iterator[str]:
    for name, value in record.__dict__.items():
        if name not in _NOT_REPEATED:
            yield f"{_word(name)}={_word(mask_field(name, value))}"


def _word(value: object) -> str:
    return _safe(mask(str(value))).replace("\n", "\\n")


def _safe(text: str) -> str:
    """Escape what could drive a terminal, and what has no UTF-8 form."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character).strip("'")
        for character in text
    )


def _complete(record: logging.LogRecord) -> logging.LogRecord:
    """Copy a record with its message made, its time as text, and the trace id of its task."""
    copy = logging.LogRecord.__new__(logging.LogRecord)  # `makeLogRecord` costs five times more.
    copy.__dict__.update(record.__dict__)
    try:
        copy.msg = record.getMessage()
    except Exception as error:  # noqa: BLE001  A line with wrong arguments is still worth having.
        copy.msg = f"{record.msg!r} could not be formatted ({type(error).__name__})"
    copy.args = None
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    copy.timestamp = moment.replace("+00:00", "Z")
    if trace.get() and not hasattr(copy, "trace_id"):
        copy.trace_id = trace.get()
    return copy
