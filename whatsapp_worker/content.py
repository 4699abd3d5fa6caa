"""Which texts are refused, and why."""

from enum import StrEnum


class ContentPolicy(StrEnum):
    """How suspicious the worker is of message texts."""

    STANDARD = "standard"
    STRICT = "strict"
    OFF = "off"
