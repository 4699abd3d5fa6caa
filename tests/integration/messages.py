"""What a campaign publishes: every kind of message, each with the fate it has to have."""

import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

from pamqp.commands import Basic

from tests.support.amqp import SOMEBODY
from tests.support.poison import RawProperties, flagged, short
from tests.support.privacy import TOKEN

PERSISTENT = b"\x02"


@dataclass(frozen=True, slots=True)
class Planned:
    """One message to publish.

    Attributes:
        kind: what it shows.
        job: the same for all messages that are to be one job.
        body: the bytes.
        text: what the recipient is to read; "" for what cannot be read.
        reason: why it has to lie in the dead-letter queue; "" when it has to be sent.
        message_id, content_type, content_encoding: AMQP properties; "" for none.
        key: the name by which its job is known to the ledger; "" for none.
        retries: how often it has to fail before it comes to its fate.
        raw: AMQP properties as bytes, in place of those above; b"" to make them of those.
    """

    kind: str
    job: str
    body: bytes = field(repr=False)
    text: str = ""
    reason: str = ""
    message_id: str = ""
    content_type: str = ""
    content_encoding: str = ""
    key: str = ""
    retries: int = 0
    raw: bytes = field(default=b"", repr=False)

    @property
    def sendable(self) -> bool:
        """Whether it has to be sent."""
        return not self.reason

    def properties(self) -> Basic.Properties:
        """AMQP properties, written by hand: aiormq would add a message id where there is none."""
        if self.raw:
            return RawProperties(self.raw)
        given = {
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
            "message_id": self.message_id,
        }
        values = {name: short(value.encode()) for name, value in given.items() if value}
        values["delivery_mode"] = PERSISTENT
        in_order = Basic.Properties.attributes()
        raw = RawProperties(flagged(*((name, values[name]) for name in in_order if name in values)))
        raw.message_id = self.message_id or raw.message_id  # aiormq knows what is returned by it.
        return raw

    def ledger_key(self, secret: bytes) -> str:
        """The key of its row: it tells nothing to whoever lacks the ledger's secret."""
        return hmac.digest(secret, SOMEBODY.bytes + self.key.encode(), "sha256").hex()


@dataclass(slots=True)
class Planner:
    """Makes messages of every kind, all different.

    Attributes:
        random: decides what comes next.
        rules: what the sandbox has to do for some of the destinations.
    """

    random: Random
    rules: dict[str, dict[str, object]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _ruled_numbers: Iterator[int] = field(default_factory=lambda: count(1_000_000))

    def good(self, **given: Any) -> Planned:
        """A message with an AMQP message id that is to be sent."""
        number = next(self._numbers)
        text = given.pop("text", "") or self._text(number)
        message_id = f"m-{self.random.getrandbits(64):016x}"
        body = self._body(text, **given)
        job = f"job {number}"
        return Planned("good", job, body, text, message_id=message_id, key=message_id)

    def keyless(self) -> Planned:
        """A message that nothing names."""
        return replace(self.good(), kind="keyless", message_id="", key="")

    def twins(self) -> list[Planned]:
        """Two messages that nothing tells apart, and that are both meant."""
        one = replace(self.keyless(), kind="twin")
        return [one, replace(one, job=one.job + " twin")]

    def named(self) -> Planned:
        """A message with an idempotency key."""
        name = f"key-{self.random.getrandbits(64):016x}"
        return replace(self.good(idempotency_key=name), kind="named", key=name)

    def again(self, first: Planned) -> Planned:
        """The same job once more: by its idempotency key, or else by its message id."""
        fresh = f"m-{self.random.getrandbits(64):016x}"
        by_key = first.kind == "named"
        return replace(
            first,
            kind="again by key" if by_key else "again by message id",
            message_id=fresh if by_key else first.message_id,
        )

    def failing(self, times: int) -> Planned:
        """A message whose first sends fail, surely unsent."""
        return self._ruled({"fail": times}, kind="failing", retries=times)

    def exhausting(self, max_attempts: int) -> Planned:
        """A message whose sends all fail."""
        return self._ruled(
            {"fail": 10**6}, kind="exhausting", reason="server_error", retries=max_attempts - 1
        )

    def refused(self) -> Planned:
        """A message to somebody who is not on WhatsApp."""
        return self._ruled({"refuse": True}, kind="refused", reason="not_on_whatsapp")

    def conflicting(self, first: Planned) -> Planned:
        """Another message under a key that is taken."""
        other = self.good()
        return replace(
            other, kind="conflicting", message_id=first.message_id, key="", reason="key_conflict"
        )

    def invalid(self, kind: str) -> Planned:
        """A message that can not be sent as it is; `kind` is one of INVALID."""
        number = next(self._numbers)
        reason, make = INVALID[kind]
        text = self._text(number)
        made = Planned(
            kind,
            f"job {number}",
            self._body(text),
            reason=reason,
            message_id=f"m-{self.random.getrandbits(64):016x}",
        )
        return make(made, text)

    def mixed(self, size: int, max_attempts: int, *, conflicts: bool = True) -> list[Planned]:
        """Messages of every kind in random order, about `size` of them.

        Args:
            size: at least the number of kinds.
            max_attempts: after how many failures a job is dead-lettered.
            conflicts: whether some take the keys of others; only where the order is certain.
        """
        random = self.random
        planned: list[Planned] = []
        firsts: list[Planned] = []
        makers: list[tuple[int, Callable[[], list[Planned]]]] = [
            (44, lambda: [self.good()]),
            (15, lambda: [self.keyless()]),
            (3, self.twins),
            (8, lambda: [self.named()]),
            (6, lambda: [self.again(random.choice(firsts))]),
            (4, lambda: [self.failing(random.randint(1, 2))]),
            (1, lambda: [self.exhausting(max_attempts)]),
            (2, lambda: [self.refused()]),
            (int(conflicts), lambda: [self.conflicting(random.choice(unnamed()))]),
            (16, lambda: [self.invalid(random.choice(list(INVALID)))]),
        ]

        def unnamed() -> list[Planned]:
            return [each for each in firsts if each.kind == "good"]

        weights, makes = zip(*makers, strict=True)
        planned += [self.good(), self.named(), *(self.invalid(kind) for kind in INVALID)]
        random.shuffle(planned)
        while len(planned) < size:
            firsts += [each for each in planned[len(firsts) :] if each.kind in {"good", "named"}]
            planned += random.choices(makes, weights)[0]()
        return planned

    def _ruled(self, rule: dict[str, object], **given: Any) -> Planned:
        destination = f"+1555{next(self._ruled_numbers):07d}"
        self.rules[destination] = rule
        return replace(self.good(destination=destination), **given)

    def _text(self, number: int) -> str:
        token = f"{TOKEN}{self.random.getrandbits(48):012x}"
        return f"{token} I'm nº {number} - *Olá*; order #{number}, ação & 你好 🛵"

    def _body(self, text: str, **given: Any) -> bytes:
        destination = f"+1 (555) 2{self.random.randrange(10**6):06d}"
        fields = {"user_id": str(SOMEBODY), "text_message": text, "destination": destination}
        return json.dumps(fields | given, ensure_ascii=bool(self.random.getrandbits(1))).encode()


def _with(fields: dict[str, object]) -> Callable[[Planned, str], Planned]:
    """Replace fields of the envelope; {text} stands for its text."""

    def make(planned: Planned, text: str) -> Planned:
        filled = {
            name: value.replace("{text}", text) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        return replace(planned, body=json.dumps(json.loads(planned.body) | filled).encode())

    return make


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Planned, str], Planned]:
    return lambda planned, _: replace(planned, body=change(planned.body))


def _without(name: str) -> Callable[[Planned, str], Planned]:
    def make(planned: Planned, _: str) -> Planned:
        fields = json.loads(planned.body)
        del fields[name]
        return replace(planned, body=json.dumps(fields).encode())

    return make


INVALID: dict[str, tuple[str, Callable[[Planned, str], Planned]]] = {
    "half a JSON object": ("malformed", _bytes(lambda body: body[:-9])),
    "not UTF-8": ("malformed", _bytes(lambda body: body[:-2] + b"\xff\xfe\xfa" + body[-2:])),
    "UTF-16": ("malformed", _bytes(lambda body: body.decode().encode("utf-16"))),
    "NaN": ("malformed", _bytes(lambda body: body[:-1] + b', "score": NaN}')),
    "the same field twice": (
        "malformed",
        _bytes(lambda body: body[:-1] + b', "destination": "+15550100999"}'),
    ),
    "nested deeply": (
        "malformed",
        _bytes(lambda body: body[:-1] + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    ),
    "a list": ("invalid_schema", _bytes(lambda body: b"[" + body + b"]")),
    "no text": ("invalid_schema", _without("text_message")),
    "no destination": ("invalid_schema", _without("destination")),
    "user id no UUID": ("invalid_schema", _with({"user_id": "somebody"})),
    "number for a text": ("invalid_schema", _with({"text_message": 7})),
    "no plus": ("invalid_phone", _with({"destination": "15550100999"})),
    "too many digits": ("invalid_phone", _with({"destination": "+1555010099915550100999"})),
    "no such country": ("invalid_phone", _with({"destination": "+99915550100"})),
    "blank text": ("invalid_text", _with({"text_message": " \n\t"})),
    "control character": ("invalid_text", _with({"text_message": "{text}\x1b[2J"})),
    "half a surrogate pair": ("invalid_text", _with({"text_message": "{text}\ud83d"})),
    "text too long": ("invalid_text", _with({"text_message": "{text}" + "x" * 4096})),
    "script": ("content_policy", _with({"text_message": "{text}<script>alert(1)</script>"})),
    "SQL": ("content_policy", _with({"text_message": "{text}' OR '1'='1' --"})),
    "too large": ("too_large", _bytes(lambda body: body + b" " * 70_000)),
    "XML": (
        "unsupported_content",
        lambda planned, _: replace(planned, content_type="application/xml"),
    ),
    "compressed": (
        "unsupported_content",
        lambda planned, _: replace(planned, content_encoding="gzip"),
    ),
}
"""Every way to be invalid: the reason that has to be given, and how it is made."""
