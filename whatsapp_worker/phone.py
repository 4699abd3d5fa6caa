"""From what people write to the number WhatsApp wants."""

from enum import StrEnum


class PhoneCheck(StrEnum):
    """How much of `phonenumbers` a destination has to satisfy."""

    FORMAT = "format"
    POSSIBLE = "possible"
    VALID = "valid"
