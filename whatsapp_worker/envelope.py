"""From bytes to a message that can be sent, or to the reason why not."""

import json
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NoReturn
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from whatsapp_worker.content import ContentPolicy, check_text
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.phone import PhoneCheck, parse_phone

_QUOTED = json.JSONEncoder().encode
"""A string in JSON; `json.dumps` of the list takes five times as long (measured)."""

MAX_KEY_LENGTH = 255
"""Characters in an idempotency_key: what an AMQP short string holds, where keys often come from."""

_CONTENT_TYPE = re.compile(
    r"(?:application/(?:[\w.+-]+\+)?json|text/json|text/plain|application/octet-stream)\s*(?:;.*)?",
    re.IGNORECASE,
)
"""Any JSON type, and what publishing tools set unasked (DESIGN 3)."""

_CONTENT_ENCODINGS = frozenset({"", "utf-8", "utf8", "identity"})

_RULES = {
    "user_id": "has to be a string holding a UUID (8-4-4-4-12 hexadecimal digits)",
    "text_message": "has to be a string of 1 to 4096 characters",
    "destination": "has to be a string: + and 8 to 15 digits, as in +<country code><number>",
    "idempotency_key": f"has to be a string of 1 to {MAX_KEY_LENGTH} characters, or left out",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly messages are checked: the settings of the same names."""

    max_message_bytes: int = 64 * 1024
    phone_check: PhoneCheck = PhoneCheck.FORMAT
    content_policy: ContentPolicy = ContentPolicy.STANDARD


_HYPHENATED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _only_hyphenated(value: object) -> object:
    # UUID() also takes braces, URNs and bare hex; the contract has one form (seed 003).
    if isinstance(value, str) and _HYPHENATED.fullmatch(value):
        return value
    raise ValueError


class WhatsAppEnvelope(BaseModel):
    """One message to send, fully checked (seed 003's contract, DESIGN 3).

    Unknown fields are ignored, so publishers may add to the envelope before the worker knows of it.
    Printing an envelope shows neither text nor destination.
    """

    model_config = ConfigDict(frozen=True)

    user_id: Annotated[UUID, BeforeValidator(_only_hyphenated)] = Field(
        description="Whose message it is."
    )
    text_message: StrictStr = Field(repr=False, description="What the recipient will read.")
    destination: StrictStr = Field(
        repr=False,
        description="The recipient's number: + and 8 to 15 digits; separators are removed.",
    )
    idempotency_key: (
        Annotated[StrictStr, StringConstraints(min_length=1, max_length=MAX_KEY_LENGTH)] | None
    ) = Field(
        default=None,
        repr=False,
        description="Messages of one user with the same key are sent once.",
    )

    @field_validator("text_message")
    @classmethod
    def _acceptable(cls, text: str, info: ValidationInfo) -> str:
        check_text(text, _rules(info).content_policy)
        return text

    @field_validator("destination")
    @classmethod
    def _reachable(cls, number: str, info: ValidationInfo) -> str:
        return parse_phone(number, _rules(info).phone_check)

    @field_validator("idempotency_key")
    @classmethod
    def _encodable(cls, key: str | None) -> str | None:
        if key is not None:
            key.encode()  # A lone surrogate is no text: the ValueError makes it a schema error.
        return key

    def canonical(self) -> bytes:
        """The content as bytes: equal for equal messages, whatever their JSON looked like.

        The same bytes in all releases, as ledgers keep what is made of them: a list in JSON.
        """
        number, text = _QUOTED(self.destination), _QUOTED(self.text_message)
        return f'["{self.user_id}", {number}, {text}]'.encode()


def _rules(info: ValidationInfo) -> Rules:
    return info.context if isinstance(info.context, Rules) else Rules()


def decode(delivery: Delivery, rules: Rules) -> WhatsAppEnvelope:
    """Read the envelope that a delivery carries.

    Raises:
        Invalid: and nothing else, whatever the bytes; its detail names field, rule and fix.
    """
    _check_transport(delivery, rules)
    fields = _parse(delivery.body)
    try:
        return WhatsAppEnvelope.model_validate(fields, context=rules)
    except ValidationError as error:
        problems = (_describe(problem) for problem in error.errors(include_url=False))
        raise Invalid(ErrorType.INVALID_SCHEMA, "; ".join(problems)) from None


def _check_transport(delivery: Delivery, rules: Rules) -> None:
    if delivery.repaired:
        raise Invalid(
            ErrorType.BAD_PROPERTIES,
            f"AMQP {', '.join(delivery.repaired)} can not be decoded: "
            "publish text properties as UTF-8 and the timestamp in seconds",
        )
    if len(delivery.body) > rules.max_message_bytes:
        raise Invalid(
            ErrorType.TOO_LARGE,
            f"the body has {len(delivery.body)} bytes, {rules.max_message_bytes} are allowed: "
            "send less text, or raise MAX_MESSAGE_BYTES",
        )
    if delivery.content_type and not _is_json(delivery.content_type):
        raise Invalid(
            ErrorType.UNSUPPORTED_CONTENT,
            "AMQP content_type has to be application/json or absent",
        )
    if delivery.content_encoding and not _is_plain(delivery.content_encoding):
        raise Invalid(
            ErrorType.UNSUPPORTED_CONTENT,
            "AMQP content_encoding has to be utf-8 or absent: publish uncompressed UTF-8",
        )


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    """Publishers write the same few into every message."""
    return _CONTENT_TYPE.fullmatch(content_type.strip()) is not None


@lru_cache(maxsize=64)
def _is_plain(content_encoding: str) -> bool:
    return content_encoding.strip().lower() in _CONTENT_ENCODINGS


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = _JSON.decode(body.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise _malformed(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"the body is not JSON ({error.msg}, character {error.pos})") from None
    except RecursionError:
        raise _malformed("the JSON is nested too deeply") from None
    except ValueError:  # An integer of more digits than Python converts.
        raise _malformed("the JSON holds a number that is too long") from None
    if not isinstance(value, dict):
        raise Invalid(
            ErrorType.INVALID_SCHEMA,
            "the body has to be a JSON object with user_id, text_message and destination",
        )
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):  # Which of the two was meant?  RFC 8259 leaves it open; so ask.
        raise _malformed("an object of the JSON has the same field twice")
    return fields


def _refuse_constant(_name: str) -> NoReturn:
    raise _malformed("NaN and Infinity are not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
"""Made once: `json.loads` would make one for every message."""


def _malformed(problem: str) -> Invalid:
    return Invalid(ErrorType.MALFORMED, f"{problem}: publish one JSON object encoded as UTF-8")


def _describe(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0])
    return f"{name} is missing" if problem["type"] == "missing" else f"{name} {_RULES[name]}"
