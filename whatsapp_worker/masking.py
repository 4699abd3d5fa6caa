"""Takes out of any text what must never be read in a log: numbers, passwords, pairing codes.

Privacy comes first: where a run of digits could be a phone number it is masked, unless its shape
says that it is something else (a UUID, a timestamp, an IPv4 address, a ledger key, a duration).
The log formatters call this on everything they are about to write, so nothing gets past it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite

MASK = "***"
_DEEPEST = 6
"""Levels of nested containers that are kept; what lies deeper is cut off, cycles included."""

# What could be a phone number, and what surely is none -----------------------------------------

# What people and programs put between digits, invisible marks included; never a line break.
_SEPARATOR = (
    r"(?:[^\S\r\n]|[-.()/\u00ad\u061c\u180e\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060-\u206f"
    r"\u2212\ufe58\ufe63\uff0d\ufeff])"
)
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
_MOMENT = (
    r"(?:19|20)[0-9]{2}[-/](?:0[1-9]|1[0-2])[-/](?:0[1-9]|[12][0-9]|3[01])(?![-/]?\d)"
    r"(?:[T ][0-2][0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?(?!\d)"
    r"(?:Z| ?[+-][01][0-9]:?[0-5][0-9](?!\d))?)?"
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}(?!\.?\d)"
# Ledger keys and trace ids have 32 digits or more; WhatsApp's message ids start with 3EB0.
_HEX = (
    r"(?:(?=[0-9]*[a-f])[0-9a-f]{32,128}|(?=[0-9]*[A-F])[0-9A-F]{32,128}"
    r"|3EB0[0-9A-F]{16,28}|0x(?=[0-9]*[a-f])[0-9a-f]{1,16})(?![0-9A-Za-z])"
)
_AMOUNT = (
    r"(?:0\.[0-9]+(?![\d.])"
    r"|[0-9]{1,7}\.[0-9]+(?=\s?(?:ms|s|seconds?|minutes?|hours?|%|[KMG]i?B)\b))"
)
_HARMLESS = rf"(?:{_UUID}|{_MOMENT}|{_IPV4}|{_HEX}|{_AMOUNT})"

_JID = (
    r"(?P<user>\d{1,20})[\d.:_\-]{0,40}"
    r"(?=@(?:s\.whatsapp\.net|c\.us|g\.us|lid|hosted|newsletter|broadcast|bot)\b)"
)

_NUMBER = re.compile(
    # A '+' makes it a phone number whatever its digits look like, so that is tried first.
    rf"(?P<number>[+\uff0b\ufe62]{_SEPARATOR}{{0,3}}\d(?:{_SEPARATOR}{{0,3}}\d){{6,}}|{_JID})"
    rf"|(?P<harmless>(?<![0-9A-Za-z]){_HARMLESS})"
    # Without one, separators may not reach across into a timestamp, an address or the like.
    rf"|(?P<digits>\d(?:(?:{_SEPARATOR}{{1,3}}(?!{_HARMLESS}))?\d){{7,}})"
)

# What is secret whatever it looks like ---------------------------------------------------------

_CONFIDENTIAL = r"password|passwd|secret|token|authorization|text_message|pair_code|pair_phone"
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The login secret of a pairing, as a link and as whatsmeow writes it.
    (re.compile(r"\bhttps?://wa\.me/\S*"), f"https://wa.me/{MASK}"),
    (re.compile(r"\b\d@[A-Za-z0-9+/=_\-]{8,}(?:,[A-Za-z0-9+/=_\-]*)*"), MASK),
    # Up to the last '@': passwords in URLs hold '@' and '/' when somebody forgot to escape them.
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.\-]{0,31}://)\S*@"), rf"\1{MASK}@"),
    # The same, drawn: with half blocks or with inverted spaces.
    (re.compile(r"[\u2580\u2584\u2588][\u2580\u2584\u2588 ]{5,}"), MASK),
    (re.compile(r"(?:\x1b\[[0-9;]*m +){3,}"), MASK),
    (
        re.compile(
            rf"(?i)((?:{_CONFIDENTIAL})(?:=|[\"']\s*[:=]\s*))"
            rf"(?:{_QUOTED}|[^\s,;)}}\]]+)"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(authorization: *)\S+ +\S+"), rf"\1{MASK}"),
    # pydantic repeats what it was given in the text of its errors.
    (re.compile(r"(?s)input_value=.{0,4096}?(?=, input_type=)"), f"input_value={MASK}"),
)

_SECRET_FIELD = re.compile(rf"(?i)(?:{_CONFIDENTIAL}|^body|^qr|^qr_code|^message_preview)$")

# Shortcuts, which change nothing (a test compares): most values of a log line need no more --------

_SIGNS = r"@=:\u2580\u2584\u2588\x1b"
_SIGN_OF_A_SECRET = re.compile(f"[{_SIGNS}]")
"""Every secret above has one of these."""
_WORTH_A_LOOK = re.compile(rf"[\d{_SIGNS}]")
"""What has none of these has neither a secret nor a number."""
_IDENTIFIER = re.compile(rf"{_UUID}|{_HEX}")
"""Text that is nothing but this stays as it is."""
_ENOUGH_DIGITS = re.compile(r"@|(?:\d\D*){7}")
"""Without, there is no number: the shortest has a '+' and seven digits, or is an address."""


def mask_phone(number: str) -> str:
    """Show a phone number's last four digits at most, and nothing of a short one."""
    digits = "".join(filter(str.isdigit, number))
    return MASK + (digits[-4:] if len(digits) >= 10 else "")


def mask(text: str) -> str:
    """Return the text without phone numbers, JIDs, credentials and pairing secrets.

    A run of 8 or more digits is taken for a phone number, separators or not; see LOGGING.md for
    the shapes that are not.
    """
    if not _WORTH_A_LOOK.search(text) or _IDENTIFIER.fullmatch(text):
        return text
    if _SIGN_OF_A_SECRET.search(text):
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return _NUMBER.sub(_mask_match, text) if _ENOUGH_DIGITS.search(text) else text


def mask_value(value: object, depth: int = 0) -> object:
    """Return the value as plain JSON types, masked throughout, names in mappings included.

    Args:
        value: anything at all; what JSON does not know is taken by its `str`.
        depth: how many containers it lies in.
    """
    match value:
        case str():
            return mask(value)
        case None | bool():
            return value
        case int() | float():
            return value if isfinite(value) and abs(value) < 10_000_000 else mask(str(value))
        case Mapping() | list() | tuple() | set() | frozenset() if depth >= _DEEPEST:
            return "..."
        case Mapping():
            return {
                mask(_text(name)): mask_field(_text(name), item, depth + 1)
                for name, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [mask_value(item, depth + 1) for item in value]
        case _:
            return mask(_text(value))


def mask_field(name: str, value: object, depth: int = 0) -> object:
    """Mask a named value; some names make their whole value a secret (`password`, `body`)."""
    return MASK if value is not None and _is_secret(name) else mask_value(value, depth)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    """Whether a name makes its whole value a secret."""
    return _SECRET_FIELD.search(name) is not None


def _mask_match(match: re.Match[str]) -> str:
    # Of an address, the number of the device says nothing about who it is.
    return match.group() if match["harmless"] else mask_phone(match["user"] or match.group())


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  A log line must never fail over what it is given.
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"
