"""What each setting is, for people: one source for the README, `.env.example` and messages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from whatsapp_worker.settings.model import Settings
from whatsapp_worker.settings.values import Rung, choices, write_seconds

# Each group begins at the named field.
GROUPS = {
    "rabbitmq_url": "RabbitMQ",
    "whatsapp_queue_name": "Queues",
    "max_message_bytes": "Messages and failures",
    "whatsapp_sender": "WhatsApp",
    "http_host": "Health, logs, stopping",
    "failpoint": "Tests of crashes",
}


@dataclass(frozen=True, slots=True)
class Description:
    """One setting as people see it.

    Attributes:
        name: its environment variable.
        field: its attribute of `Settings`.
        group: the heading it stands under.
        meaning: what it does.
        kind: what its value must be.
        default: its default, empty when it has none.
        secret: it may also be given as NAME_FILE, and is never shown.
    """

    name: str
    field: str
    group: str
    meaning: str
    kind: str
    default: str
    secret: bool


def descriptions() -> Iterator[Description]:
    """Every setting, in order."""
    group = ""
    for name, field in Settings.model_fields.items():
        if name == "notes":
            continue
        group = GROUPS.get(name, group)
        secret = SecretStr in (field.annotation, *get_args(field.annotation))
        meaning = field.description or ""
        yield Description(name.upper(), name, group, meaning, _kind(field), _default(field), secret)


def written(value: object) -> str:
    """Write a setting's value as an operator would; secrets as stars."""
    match value:
        case None:
            return ""
        case SecretStr():
            return "********"
        case bool():
            return str(value).lower()
        case float():
            return write_seconds(value)
        case (Rung(), *_):
            return ",".join(rung.label for rung in value if isinstance(rung, Rung))
        case _:
            return str(value)


def _default(field: FieldInfo) -> str:
    """The default in words; a default password is no secret, everybody reads it here."""
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default"])
    default = field.default
    return default.get_secret_value() if isinstance(default, SecretStr) else written(default)


def _kind(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if every := choices(kind):
        return "one of " + ", ".join(every)
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number {_bounds(field, str)}"
    if kind is float:
        return f'seconds, or text like "90s" or "2m", {_bounds(field, write_seconds)}'
    if Path in (kind, *get_args(kind)):
        return "a path"
    return "text, not empty"


def _bounds(field: FieldInfo, write: Any) -> str:
    least = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    above = next((each.gt for each in field.metadata if isinstance(each, Gt)), None)
    most = next(each.le for each in field.metadata if isinstance(each, Le))
    begin = f"above {write(above)}" if least is None else f"from {write(least)}"
    return f"{begin} to {write(most)}"
