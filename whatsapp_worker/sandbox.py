"""A sender that sends nothing: for the demo, for staging and for tests.

It does what its rules say for a destination, and keeps what it "sent" where one can read it.
"""

import asyncio
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    Misconfigured,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)

_LETTERS = str.maketrans("0123456789abcdef", "ABCDEFGHIJKLMNOP")
"""For ids of letters alone: digits would be masked in logs, as what could be a phone number."""

_IDS = random.Random()  # noqa: S311  No secrets: they only have to differ.

EVERYONE = "*"
"""The destination whose rule holds for all that have none of their own."""

LOOK_INTERVAL = 0.1
"""Seconds between two looks at a rules file: a script switches the sandbox by writing it."""


class Rule(BaseModel):
    """What the sandbox does for one destination; by default it sends at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds that a send takes."""
    offline: bool = False
    """The account is offline: work pauses until the rules change.  For `*` only."""
    hang: bool = False
    """The send never ends, as a native call may."""
    block: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds for which the send first blocks the event loop, as a native call that holds the GIL
    would: no heartbeat, no answer to a probe, and no SEND_TIMEOUT until it is over."""
    refuse: bool = False
    """WhatsApp says that the recipient has no account."""
    throttle: bool = False
    """WhatsApp asks for fewer messages."""
    fail: Annotated[int, Field(ge=0)] = 0
    """So many sends fail, surely unsent, before one works."""
    doubt: Annotated[int, Field(ge=0)] = 0
    """So many sends end without an answer (the message has left) before one gets its answer."""

    @property
    def counts(self) -> bool:
        """Whether it matters which try a send is."""
        return bool(self.fail or self.doubt)


_AT_ONCE = Rule()


def _shared(rule: Rule, known: ValidationInfo[dict[Rule, Rule]]) -> Rule:
    """The first rule like this one: a file of many has few kinds, and is read again and again."""
    return known.context.setdefault(rule, rule)


Rules = TypeAdapter(dict[str, Annotated[Rule, AfterValidator(_shared)]])


class Sandbox:
    """Stands where WhatsApp would.

    Args:
        rules: JSON, an object of destination (or `*`) to Rule; `@file` is read again whenever it
            changes.
        outbox: a file that gets one JSON line per message "sent", None to keep none.
        report: told that the account is offline, and with None that it is back.
        send_timeout: seconds that a send may take before `on_stuck` is called.
        on_stuck: ends the process, as for a native call that does not end (DESIGN 5).
    """

    def __init__(
        self,
        rules: str | None,
        outbox: Path | None,
        report: Callable[[PauseReason, str | None], None],
        send_timeout: float,
        on_stuck: Callable[[], None],
    ) -> None:
        self._source = rules or "{}"
        # Made once: pathlib interns all parts of a path, and Python's table of such strings grew by
        # a megabyte where ten a second came and went (measured).
        self._file = Path(self._source[1:]) if self._source.startswith("@") else None
        self._outbox = outbox
        self._report = report
        self._send_timeout = send_timeout
        self._on_stuck = on_stuck
        self._tries: Counter[str] = Counter()
        self._version: tuple[int, int] | None = None
        self._rules: dict[str, Rule] = {}
        self.online = False

    async def run(self) -> None:
        """Follow the rules until cancelled; raises Misconfigured if they make no sense at first."""
        self._look()
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            with suppress(Misconfigured):  # Half written, perhaps: the rules stay as they are.
                self._look()

    @property
    def state(self) -> str:
        """The state a WhatsApp session would be in."""
        return "online" if self.online else "reconnecting"

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """See ports.Sender.send."""
        destination = envelope.destination
        rule = self._rule(destination)
        if not self.online:
            raise Unavailable(PauseReason.WHATSAPP, "the sandbox is offline")
        if rule.block:  # Even a sleep of no time gives up the processor.
            time.sleep(rule.block)  # noqa: ASYNC251  Blocking is what it is for.
        if rule.latency or rule.hang:
            await self._take_time(rule)
        if rule.refuse:
            raise Refused(ErrorType.NOT_ON_WHATSAPP, "the destination has no WhatsApp account")
        if rule.throttle:
            raise Throttled(ErrorType.THROTTLED, "WhatsApp asks for fewer messages")
        number = self._try(destination, rule)
        if number <= rule.fail:
            raise Transient(ErrorType.SERVER_ERROR, "the sandbox fails this send, as told")
        whatsapp_id = self._keep(envelope)
        if number <= rule.fail + rule.doubt:
            raise InDoubt("the sandbox gives no answer to this send, as told")
        return whatsapp_id

    def _rule(self, destination: str) -> Rule:
        return self._rules.get(destination) or self._rules.get(EVERYONE) or _AT_ONCE

    async def _take_time(self, rule: Rule) -> None:
        try:
            async with asyncio.timeout(self._send_timeout):
                await asyncio.sleep(math.inf if rule.hang else rule.latency)
        except TimeoutError:
            self._on_stuck()
            raise InDoubt("the sandbox hangs in this send, as told") from None

    def _try(self, destination: str, rule: Rule) -> int:
        """Return which try this is; not counted, and so not kept, where no rule asks for it."""
        if not rule.counts:
            return 1
        self._tries[destination] += 1
        return self._tries[destination]

    def _keep(self, envelope: WhatsAppEnvelope) -> str:
        whatsapp_id = "SANDBOX" + f"{_IDS.getrandbits(64):016x}".translate(_LETTERS)
        if self._outbox is not None:
            message: dict[str, Any] = {
                "id": whatsapp_id,
                "destination": envelope.destination,
                "text": envelope.text_message,
                "user_id": str(envelope.user_id),
                "at": datetime.now(UTC).isoformat(),
            }
            line = json.dumps(message, ensure_ascii=False) + "\n"
            descriptor = os.open(self._outbox, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line.encode())  # One write: whole lines, whoever is killed.
            finally:
                os.close(descriptor)
        return whatsapp_id

    def _look(self) -> None:
        text, version = self._source, (0, 0)
        try:
            if self._file is not None:
                status = self._file.stat()
                version = (status.st_mtime_ns, status.st_size)
            if version == self._version:
                return
            if self._file is not None:
                text = self._file.read_text()
        except OSError as error:
            raise Misconfigured(f"SANDBOX_RULES: {self._file}: {error.strerror}") from None
        try:
            rules = Rules.validate_json(text, context={})
        except ValidationError as error:
            where = ", ".join(".".join(str(part) for part in e["loc"]) for e in error.errors())
            raise Misconfigured(
                f"SANDBOX_RULES: not an object of destination to rule ({where or 'not JSON'}); "
                'as in {"+15550100": {"refuse": true}, "*": {"latency": 0.1}}'
            ) from None
        self._version = version
        self._rules = rules
        for destination in [each for each in self._tries if not self._rule(each).counts]:
            del self._tries[destination]
        offline = self._rules.get(EVERYONE, _AT_ONCE).offline
        self.online = not offline
        self._report(PauseReason.WHATSAPP, "the sandbox is offline, as told" if offline else None)
