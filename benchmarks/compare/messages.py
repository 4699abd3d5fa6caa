"""The same content for everybody, each in the wrapping that its framework expects."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from benchmarks.contenders.contract import NAME, clocked

TEXT = "Your order {number} is on its way and arrives tomorrow between 10 and 12."
USER = UUID(int=0x5B6C1FD9_2E64_4B1C_9A5E_0F3A7D1C2B4E)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """A message as it is published.

    Attributes:
        body, headers: what the framework reads.
        message_id: an AMQP property, different for each.
    """

    body: bytes
    message_id: str
    headers: Fields = field(default_factory=dict)


Pack = Callable[[Fields, str], Packed]


def contents(*, stamped: bool = False) -> Iterator[Fields]:
    """Messages to ever other numbers (mobile ones of São Paulo).

    Args:
        stamped: each text ends with the time at which it was asked for.
    """
    for number in count():
        text = TEXT.format(number=number)
        yield {
            "user_id": str(USER),
            "text_message": clocked(text) if stamped else text,
            "destination": f"+55119{90_000_000 + number:08d}",
        }


def plain(fields: Fields, queue: str) -> Packed:
    """As the worker's publishers write it; also for FastStream and pika."""
    return Packed(_json(fields), uuid4().hex)


def dramatiq(fields: Fields, queue: str) -> Packed:
    """As `dramatiq.Message.encode` writes it."""
    name = uuid4().hex
    message = {
        "queue_name": queue,
        "actor_name": NAME,
        "args": [fields],
        "kwargs": {},
        "options": {},
        "message_id": name,
        "message_timestamp": 0,
    }
    return Packed(_json(message), name)


def taskiq(fields: Fields, queue: str) -> Packed:
    """As `taskiq.formatters.json_formatter` and its RabbitMQ broker write it."""
    name = uuid4().hex
    message = {
        "task_id": name,
        "task_name": NAME,
        "labels": {},
        "labels_types": {},
        "args": [fields],
        "kwargs": {},
    }
    return Packed(_json(message), name, {"task_id": name, "task_name": NAME})


def celery(fields: Fields, queue: str) -> Packed:
    """As Celery's message protocol, version 2, has it."""
    name = uuid4().hex
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {
        "lang": "py",
        "task": NAME,
        "id": name,
        "root_id": name,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "ignore_result": True,
    }
    return Packed(_json([[fields], {}, embedded]), name, headers)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
