"""What the demo publishes, and what has to become of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from whatsapp_worker.errors import ErrorType

SOMEBODY = UUID("7d1c2f9e-3f5b-4f0a-9a55-0f6f1d3c8b21")
ORDINARY, KEYED, UNLUCKY, UNKNOWN = (f"+1202555010{digit}" for digit in range(1, 5))
"""Fictitious: nobody gets a number 555-0100 to 555-0199 (North American Numbering Plan)."""

SANDBOX_RULES = json.dumps({UNLUCKY: {"fail": 2}, UNKNOWN: {"refuse": True}})
RETRY_DELAYS = "1s,2s"


class Fate(StrEnum):
    """What becomes of a message."""

    SENT = "sent"
    RETRIED = "retried, then sent"
    DUPLICATE = "not sent again"
    DEAD = "dead letter"


@dataclass(frozen=True, slots=True)
class Story:
    """One message of the demo.

    Attributes:
        name: what it shows; its AMQP message id as well.
        body: what is published.
        fate: what has to become of it.
        reason: of a dead letter, why.
    """

    name: str
    body: bytes
    fate: Fate
    reason: ErrorType | None = None


def _envelope(destination: str, text: str, **more: str) -> bytes:
    fields = {"user_id": str(SOMEBODY), "text_message": text, "destination": destination, **more}
    return json.dumps(fields, ensure_ascii=False).encode()


_ONCE = _envelope(KEYED, "Your code is 4711.", idempotency_key="login-4711")

STORIES = (
    Story(
        "ordinary message",
        _envelope("+1 (202) 555-0101", "Hi Ana, I'm on my way with order #12: *two* minutes! 🛵"),
        Fate.SENT,
    ),
    Story("message with a key", _ONCE, Fate.SENT),
    Story("same key again", _ONCE, Fate.DUPLICATE),
    Story(
        "no international number",
        _envelope("0202 555 0101", "Who is this for?"),
        Fate.DEAD,
        ErrorType.INVALID_PHONE,
    ),
    Story(
        "script injection",
        _envelope(ORDINARY, "<script>alert('gotcha')</script>"),
        Fate.DEAD,
        ErrorType.CONTENT_POLICY,
    ),
    Story("half a JSON object", b'{"user_id": "7d1c', Fate.DEAD, ErrorType.MALFORMED),
    Story(
        "WhatsApp fails twice",
        _envelope(UNLUCKY, "Third time lucky."),
        Fate.RETRIED,
    ),
    Story(
        "recipient is not on WhatsApp",
        _envelope(UNKNOWN, "Is anybody there?"),
        Fate.DEAD,
        ErrorType.NOT_ON_WHATSAPP,
    ),
)


@dataclass(frozen=True, slots=True)
class Observed:
    """What has become of all of them, as an operator can see it.

    Attributes:
        read: destination and text of each message a recipient got.
        dead: reason by message id, of each dead letter.
        metrics: how much each sample has moved.
    """

    read: Sequence[tuple[str, str]]
    dead: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)


def disappointments(observed: Observed) -> list[str]:
    """Name every fate that did not come true, one sentence each."""
    texts = {story.name: text_of(story) for story in STORIES}
    expected = Counter(texts[story.name] for story in STORIES if _is_read(story))
    read = Counter(text for _, text in observed.read)
    found = [f"not exactly once in the outbox: {text!r}" for text in expected if read[text] != 1]
    found += [f"sent, and should not have been: {text!r}" for text in read if text not in expected]
    reasons = {story.name: story.reason for story in STORIES if story.reason}
    for name in reasons.keys() | observed.dead.keys():
        if observed.dead.get(name) != reasons.get(name):
            is_so = observed.dead.get(name, "not in the dead-letter queue")
            found.append(f"{name}: should be {reasons.get(name, 'sent')}, is {is_so}")
    for sample, value in _expected_metrics().items():
        if (moved := observed.metrics.get(sample, 0.0)) != value:
            found.append(f"{sample} moved by {moved:g} instead of {value:g}")
    return found


def text_of(story: Story) -> str:
    """The text as a recipient would read it; of a body that is no JSON, the body."""
    return _field(story, "text_message") or story.body.decode()


def destination_of(story: Story) -> str:
    """The destination as it was written, empty for a body that is no JSON."""
    return _field(story, "destination")


def _field(story: Story, name: str) -> str:
    try:
        return str(json.loads(story.body)[name])
    except ValueError:
        return ""


def _is_read(story: Story) -> bool:
    return story.fate in {Fate.SENT, Fate.RETRIED}


def _expected_metrics() -> dict[str, float]:
    processed = 'worker_jobs_processed_total{status="%s",worker="whatsapp-worker"}'
    return {
        processed % "success": sum(_is_read(story) for story in STORIES),
        processed % "duplicate": sum(story.fate is Fate.DUPLICATE for story in STORIES),
        processed % "failed": sum(story.fate is Fate.DEAD for story in STORIES),
        'worker_jobs_retried_total{worker="whatsapp-worker"}': 2,
    }
