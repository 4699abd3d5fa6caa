"""Which texts are refused, and why."""

import re
import unicodedata
from enum import StrEnum

from whatsapp_worker import injection
from whatsapp_worker.errors import ErrorType, Invalid


class ContentPolicy(StrEnum):
    """How suspicious the worker is of message texts."""

    STANDARD = "standard"
    STRICT = "strict"
    OFF = "off"


_MAX_CHARACTERS = 4096  # Seed 003: characters; the Go worker counted bytes.

# Checked under every policy, on the text as it is.  What is *not* here is ordinary: the marks
# U+200E, U+200F, U+061C and the joiners (emoji, Persian, Hindi), and the isolates U+2066..2069:
# they are how Unicode (UAX 9) says to put a name into a sentence of the other direction, message
# formatters add them around every value, and unlike embeddings they leave the text around them be.
_FORBIDDEN = (
    (
        "a control character: remove all but newline and tab",
        re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    ),
    # Windows and HTML forms write \r\n, and it reads as a newline.  A lone \r writes over the
    # line in a terminal and breaks lines nowhere else.
    ("a carriage return without a newline: write a newline", re.compile(r"\r(?!\n)")),
    (
        "a bidirectional embedding or override (U+202A to U+202E): remove it, or use isolates",
        re.compile(r"[\u202a-\u202e]"),
    ),
    ("half a surrogate pair: encode the text as UTF-8", re.compile(r"[\ud800-\udfff]")),
)

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Letters and marks that draw nothing either (Default_Ignorable_Code_Point, and blank Braille).
_INVISIBLE_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
) | {chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}


def check_text(text: str, policy: ContentPolicy) -> None:
    """Refuse a text that cannot be sent, or that the policy holds for an attack.

    Counted are characters (code points), 1 to 4096 (seed 003); one of them must be visible.
    Control characters other than newline (\\n or \\r\\n) and tab, bidirectional embeddings and
    overrides, and lone surrogates are refused (DESIGN 3) under every policy.

    Args:
        text: the message text.
        policy: STANDARD refuses attacks, STRICT also the seed's keywords, OFF neither.

    Raises:
        Invalid: INVALID_TEXT or CONTENT_POLICY; the detail names the rule and the fix, never
            the text.
    """
    _check_characters(text)
    if policy is ContentPolicy.OFF:
        return
    readings = injection.readings(text)
    _apply(injection.STANDARD, readings, "set CONTENT_POLICY=off")
    if policy is ContentPolicy.STRICT:
        _apply(injection.STRICT, readings, "set CONTENT_POLICY=standard")


def _check_characters(text: str) -> None:
    if len(text) > _MAX_CHARACTERS:
        raise Invalid(
            ErrorType.INVALID_TEXT,
            f"text_message is longer than {_MAX_CHARACTERS} characters: shorten or split it",
        )
    if not text.isprintable():  # What is forbidden is not printable; nor is a newline, say.
        _check_unprintable(text)
    if not any(_is_visible(character) for character in text):
        raise Invalid(ErrorType.INVALID_TEXT, "text_message shows nothing: write something visible")


def _check_unprintable(text: str) -> None:
    for kind, pattern in _FORBIDDEN:
        if pattern.search(text):
            raise Invalid(ErrorType.INVALID_TEXT, f"text_message holds {kind}")


def _is_visible(character: str) -> bool:
    return (
        unicodedata.category(character) not in _INVISIBLE_CATEGORIES
        and character not in _INVISIBLE_LETTERS
    )


def _apply(rules: tuple[injection.Rule, ...], readings: tuple[str, ...], way_out: str) -> None:
    for rule in rules:
        if rule.matches(readings):
            raise Invalid(
                ErrorType.CONTENT_POLICY,
                f"text_message holds what looks like {rule.kind}: "
                f"send it as plain text without it, or {way_out}",
            )
