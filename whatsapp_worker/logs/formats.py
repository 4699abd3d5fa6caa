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
_OF_EVERY_LINE = frozenset({*RESERVED_ATTRS, *OURS, "timestamp"})

_TO_JSON = json.JSONEncoder().encode
"""What was masked is of plain JSON types; `json.dumps` would make an encoder for every line."""

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class JsonLines(JsonFormatter):
    """One flat JSON object per line, pure ASCII, every value masked.

    Args:
        env: what the `env` field says.
    """

    def __init__(self, env: str) -> None:
        super().__init__(json_serializer=lambda fields, **_: _TO_JSON(fields))
        self._everywhere = {"service": SERVICE, "version": __version__, "env": env}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        fields: dict[str, Any] = {
            "timestamp": _moment(record),
            "level": _masked_name(record.levelname),
            "logger": _masked_name(record.name),
            "message": mask(_message(record)),
            **self._everywhere,
        }
        for name, value in (_fields(record) or record.__dict__).items():
            if name not in _OF_EVERY_LINE:
                fields[_masked_name(name)] = mask_field(name, value)
        if trace.get():
            fields.setdefault("trace_id", trace.get())
        if record.exc_info:
            fields["exception"] = mask(str(self.formatException(record.exc_info)))
        if record.stack_info:
            fields["stack"] = mask(record.stack_info)
        return self.jsonify_log_record(fields)


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
        moment = datetime.fromtimestamp(record.created).astimezone()
        level = f"{record.levelname:<8}"
        if colour := self._colours.get(record.levelname):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        first, *others = _safe(mask(_message(record))).split("\n")
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
    fields = _fields(record) or record.__dict__
    for name, value in fields.items():
        if name not in _OF_EVERY_LINE and name != "event":  # The sentence says it.
            yield f"{_word(name)}={_word(mask_field(name, value))}"
    if trace.get() and "trace_id" not in fields:
        yield f"trace_id={trace.get()}"


def _word(value: object) -> str:
    return _safe(mask(str(value))).replace("\n", "\\n")


def _safe(text: str) -> str:
    """Escape what could drive a terminal, and what has no UTF-8 form."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character).strip("'")
        for character in text
    )


def _message(record: logging.LogRecord) -> str:
    if fields := _fields(record):
        return str(fields["message"])
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  A line with wrong arguments is still worth having.
        return f"{record.msg!r} could not be formatted ({type(error).__name__})"


def _fields(record: logging.LogRecord) -> dict[str, object] | None:
    """All that a line says, if it was given as a mapping, its message among it (as in `job`)."""
    given: object = record.msg
    return given if isinstance(given, dict) and "message" in given else None


def _moment(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    """Many lines have it in common."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
