"""Write contracts/*.schema.json: what we read and write, as JSON Schemas made from the code.

`--check` writes nothing and fails when one is out of date.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whatsapp_worker.amqp.copies import MAX_DETAIL_BYTES
from whatsapp_worker.amqp.incoming import ATTEMPT, FAILED_AT, JOB_KEY, TRACE_PARENT
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType
from whatsapp_worker.logs.formats import SERVICE
from whatsapp_worker.logs.job import KEY_DIGITS
from whatsapp_worker.settings import Environment
from whatsapp_worker.whatsapp import WhatsAppState

ROOT = Path(__file__).parent.parent
CONTRACTS = ROOT / "contracts"

Schema = dict[str, Any]
Row = tuple[str, str, str]
Fields = dict[str, Schema]

DIALECT: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
REASON: Schema = {"enum": [str(each) for each in ErrorType]}
TIME: Schema = {"type": "string", "format": "date-time"}


# The envelope ------------------------------------------------------------------------------------

_SEPARATORS = r"[\s.()\-\u00ad\u2010-\u2015\u2212\ufe58\ufe63\uff0d]*"
_FORBIDDEN = r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e]|\r(?!\n)"
BEYOND_TYPES: Fields = {
    "user_id": {
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "maxLength": 36,
    },
    "text_message": {
        "minLength": 1,
        "maxLength": 4096,
        "pattern": r"\S",
        "not": {"pattern": _FORBIDDEN},
    },
    "destination": {
        "maxLength": 64,
        "pattern": rf"^{_SEPARATORS}\+{_SEPARATORS}([0-9]{_SEPARATORS}){{8,15}}$",
        "examples": ["+15550100999", "+1 (555) 010-0999"],
    },
}
"""What the model's validators ask beyond types, as far as JSON Schema can say it.

Never more than they ask: a test publishes whatever `decode` accepts past the schema.
"""


def envelope() -> Schema:
    """What publishers send.  `decode` also asks whether the country code and the text are real."""
    schema = WhatsAppEnvelope.model_json_schema()
    for name, rules in BEYOND_TYPES.items():
        schema["properties"][name] |= rules
    for field in schema["properties"].values():
        del field["title"]
    return schema | {
        "description": (
            "One message to send.  Unknown fields are ignored.  The worker also refuses unknown "
            "country codes, texts without a visible character, and what CONTENT_POLICY takes for "
            "an attack."
        ),
    }


# AMQP headers of our copies ----------------------------------------------------------------------

HEADERS: Fields = {
    JOB_KEY: {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "The job's key in the ledger; the same for every copy of a job.",
    },
    TRACE_PARENT: {
        "type": "string",
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "W3C trace context: the publisher's, or made when the message came.",
    },
    ATTEMPT: {**COUNT, "description": "Failed attempts so far."},
    "x-error-type": {**REASON, "description": "Why it was given up."},
    "x-error-detail": {
        **TEXT,
        "maxLength": MAX_DETAIL_BYTES,
        "description": "The same for a person; without phone number and text.",
    },
    "x-attempts": {**COUNT, "description": "Failed attempts, the last one included."},
    "x-unknown-count": {**COUNT, "description": "Sends that ended without an answer."},
    "x-first-seen": {**TIME, "description": "When the worker first had it."},
    FAILED_AT: {**TIME, "description": "When it was given up."},
    "x-origin-queue": {**TEXT, "description": "The work queue it came from."},
}


def dead_letter_headers() -> Schema:
    """AMQP headers of a dead letter that the worker published."""
    return _headers(
        "Headers of a dead letter",
        "A message that RabbitMQ dead-lettered itself has those of its publisher instead, and "
        "x-death.  x-job-key is missing when no job could be made of the message.",
        [name for name in HEADERS if name != ATTEMPT],
        optional=(JOB_KEY,),
    )


def retry_headers() -> Schema:
    """AMQP headers of a copy that waits for its next attempt."""
    return _headers(
        "Headers of a retry copy",
        "Between the worker and itself; nobody else publishes these.",
        [JOB_KEY, TRACE_PARENT, ATTEMPT],
    )


def _headers(
    title: str, description: str, names: list[str], optional: tuple[str, ...] = ()
) -> Schema:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": {name: HEADERS[name] for name in names},
        # RabbitMQ adds its own when it delivers one: x-delivery-count, x-death.
        "required": [name for name in names if name not in optional],
    }


# A log line: LOGGING.md describes its fields, their types are here -------------------------------

OUTCOMES = ("sent", "duplicate", "retry", "dead_letter", "reject")
MASKED_OR_HEX = rf"^([0-9a-f]{{{KEY_DIGITS}}}|\*\*\*[0-9]{{4}})$"
"""32 hex digits; the rare one without a letter is masked as a phone number would be."""
LOG_TYPES: Fields = {
    "timestamp": {**TIME, "pattern": r"^[-\d]{10}T[:\d]{8}\.\d{3}Z$"},
    "level": {"enum": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]},
    "logger": TEXT,
    "message": TEXT,
    "service": {"const": SERVICE},
    "version": TEXT,
    "env": {"enum": [str(each) for each in Environment]},
    "trace_id": {"type": "string", "pattern": MASKED_OR_HEX},
    "exception": TEXT,
    "stack": TEXT,
    "event": {"const": "job"},
    "outcome": {"enum": list(OUTCOMES)},
    "duration_seconds": {"type": "number", "minimum": 0},
    "redelivered": {"type": "boolean"},
    "message_id": TEXT,
    "user_id": {"type": "string", "format": "uuid"},
    "recipient": {"type": "string", "pattern": r"^\*\*\*[0-9]{0,4}$"},
    "job_key": {"type": "string", "pattern": MASKED_OR_HEX},
    "attempt": COUNT,
    "unknown_count": COUNT,
    "whatsapp_id": TEXT,
    "error_type": REASON,
    "error_detail": TEXT,
    "retry_in_seconds": {"type": "number", "minimum": 0},
    "rabbitmq": TEXT,
    "whatsapp_state": {"enum": [str(each) for each in WhatsAppState]},
}


def log_line() -> Schema:
    """One line of standard output with ENV=production, all of its fields and no others."""
    document = (ROOT / "LOGGING.md").read_text()
    every, job, other = (
        _documented(document, title)
        for title in ("of every line", "of a job's line", "of other lines")
    )
    meanings = {name: text for rows in (every, job, other) for name, _, text in rows}
    return {
        "title": "Log line",
        "type": "object",
        "properties": _refer(name for name, *_ in every),
        "required": [name for name, present, _ in every if present == "always"],
        "if": {"required": ["event"]},
        "then": {"oneOf": [_job_line(outcome, job) for outcome in OUTCOMES]},
        "else": {"properties": _refer(name for name, *_ in other)},
        "unevaluatedProperties": False,
        "$defs": {
            name: {**LOG_TYPES[name], "description": text} for name, text in meanings.items()
        },
    }


def _job_line(outcome: str, fields: list[Row]) -> Schema:
    """What the line of a job that ended so must and may hold."""
    must = [name for name, present, _ in fields if _present(present, outcome)]
    may = [name for name, present, _ in fields if present.startswith("if ")]
    return {
        "properties": {**_refer([*must, *may]), "outcome": {"const": outcome}},
        "required": must,
    }


def _present(present: str, outcome: str) -> bool:
    """Whether LOGGING.md's column "Present" says that the line of this outcome has a field."""
    named = outcome in re.findall("`(.+?)`", present)
    return present == "always" or named != present.startswith("unless")


def _documented(document: str, title: str) -> list[Row]:
    """The rows of a section's table: a field, when it is present, and what it means."""
    section = document.split(f"\n## Fields {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section, re.MULTILINE)


def _refer(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/$defs/{name}"} for name in names}


# Health ------------------------------------------------------------------------------------------


def health() -> Schema:
    """The answers of /healthz, /livez and /readyz; HEALTH_CHECK.md lists their checks."""
    document = (ROOT / "HEALTH_CHECK.md").read_text()
    names = re.findall(r"^\| `/(?:livez|readyz)` \| `(\w+)` \|", document, re.MULTILINE)
    fine = {"properties": {"status": {"const": "ok"}}}
    return {
        "title": "Answer of /healthz, /livez and /readyz",
        "description": "200 if healthy, 503 if not.",
        "type": "object",
        "properties": {
            "status": {"enum": ["healthy", "unhealthy"]},
            "checks": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"enum": ["rabbitmq", *names]},
                        "status": {"enum": ["ok", "error"]},
                        "message": {**TEXT, "description": "For a person."},
                    },
                    "required": ["name", "status", "message"],
                    "additionalProperties": False,
                },
            },
            "whatsapp": {
                "enum": [str(each) for each in WhatsAppState],
                "description": "State of the session, in /healthz only; decides nothing.",
            },
        },
        "required": ["status", "checks"],
        "additionalProperties": False,
        "if": {"properties": {"status": {"const": "healthy"}}},
        "then": {"properties": {"checks": {"items": fine}}},
        "else": {"properties": {"checks": {"not": {"items": fine}}}},
    }


# The files ---------------------------------------------------------------------------------------

MAKERS = (envelope, dead_letter_headers, retry_headers, log_line, health)


def documents() -> dict[Path, str]:
    """Each file and what it ought to hold."""
    return {
        CONTRACTS / f"{make.__name__.replace('_', '-')}.schema.json": (
            json.dumps({**DIALECT, **make()}, indent=2) + "\n"
        )
        for make in MAKERS
    }


def main(arguments: list[str]) -> int:
    """Write, or check; returns the exit code."""
    stale = {
        path: text
        for path, text in documents().items()
        if not path.exists() or path.read_text() != text
    }
    for path, text in stale.items():
        if "--check" in arguments:
            sys.stderr.write(f"contracts/{path.name} is out of date: run `make docs`\n")
        else:
            path.write_text(text)
            sys.stdout.write(f"contracts/{path.name} written\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
