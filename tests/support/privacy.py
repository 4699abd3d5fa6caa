"""What must not be seen in anything a daemon leaves behind."""

import re

TOKEN = "tok-"
"""Begins every text of the tests, followed by hexadecimal digits: nothing else may show it."""

_WORD = r"(?<![0-9A-Za-z])(?:{})(?![0-9A-Za-z])"
"""On its own: the digits of a ledger key may look like a number, too."""

PRIVATE: dict[str, re.Pattern[str]] = {
    "a number with a plus": re.compile(r"\+\d{8,15}"),
    "a number of the tests, without": re.compile(_WORD.format(r"1555\d{7}")),
    "a number as it was written": re.compile(r"\(555\)[ -]?\d{3}"),
    "a WhatsApp address": re.compile(r"\d{6,15}(?::\d+)?@(?:s\.whatsapp\.net|lid)"),
    "a text of the tests": re.compile(rf"{TOKEN}[0-9a-z]{{4}}|Hello from the tests|order #\d"),
    "an address with a password": re.compile(r"amqps?://[^\s/@]*:[^\s/@]+@"),
    "a password of the tests": re.compile(r"wrong-[0-9a-f]{32}|secret-\d{4}"),
    "a pairing code": re.compile(r"(?<![0-9A-Za-z])[12]@[0-9A-Za-z+/=]{16,}"),
}
"""What kind of thing it is, and how it is found.  Numbers of the tests begin with +1555."""


def leaks(text: str) -> dict[str, str]:
    """What is private in a text: what kind of thing, and the first of its kind."""
    found = {name: pattern.search(text) for name, pattern in PRIVATE.items()}
    return {name: match[0] for name, match in found.items() if match}
