"""From what people write to the number WhatsApp wants."""

import re
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import NamedTuple

import phonenumbers

from whatsapp_worker.errors import ErrorType, Invalid


class PhoneCheck(StrEnum):
    """How much of `phonenumbers` a destination has to satisfy."""

    FORMAT = "format"
    POSSIBLE = "possible"
    VALID = "valid"


# 15 digits and a sign, with generous room for separators: nothing longer is looked at (seed 003).
_MAX_WRITTEN_CHARACTERS = 64

# Spaces (a line end from a CSV file, the no-break spaces of a word processor), hyphens, dots and
# parentheses: seed 003 "common separators", as keyboards and programs really write them.
_SPACES = (
    " \t\r\n\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u202f\u205f\u3000"
)
_HYPHENS = "-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_NO_BLANKS = str.maketrans("", "", _SPACES + _HYPHENS + ".")
_NO_PARENTHESES = str.maketrans("", "", "()")

_E164 = re.compile(r"\+[0-9]{8,15}")  # DESIGN 3; `[0-9]`, because `\d` takes digits of any script.
_NEVER = r"(?!)"
_CALLING_CODES = frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def parse_phone(text: str, check: PhoneCheck) -> str:
    """Clean a destination to E.164, such as `+5511999999999`: what is returned is what gets sent.

    Rules from DESIGN 3 and seed 003: `+`, then 8 to 15 digits in all, of which the first are a
    country calling code; separators are cleaned.

    Args:
        text: the destination as the publisher wrote it.
        check: FORMAT stops there; POSSIBLE wants a length the country has, VALID a number range
            it has assigned, both as `phonenumbers` knows them.

    Raises:
        Invalid: INVALID_PHONE; the detail says what to change and never holds the number.
    """
    number = text if _E164.fullmatch(text) else _clean(text)
    beginnings = (number[1:2], number[1:3], number[1:4])
    code = next((each for each in beginnings if each in _CALLING_CODES), None)
    if code is None:
        raise _invalid("starts with no known country calling code: write +, country code, number")
    if check is PhoneCheck.POSSIBLE or (
        check is PhoneCheck.VALID and not _is_ordinary(number, code)
    ):
        _ask_phonenumbers(number, check)
    return number


def _clean(text: str) -> str:
    if len(text) > _MAX_WRITTEN_CHARACTERS:
        raise _invalid("is too long: write one number, +, country code, 8 to 15 digits in all")
    compact = text.translate(_NO_BLANKS)
    if "(0)" in compact:  # "+44 (0)20 ...": dialled within the country only; kept, it would send
        # to a number nobody meant, and dropped, it would break Italian numbers: so ask.
        raise _invalid('has an optional "(0)": leave it out, write the number as dialled abroad')
    number = compact.translate(_NO_PARENTHESES)
    if not number.startswith("+"):
        raise _invalid("does not start with +: write +, country code, number")
    digits = number[1:]
    if not (digits.isascii() and digits.isdigit()):
        raise _invalid(
            "may hold only digits after the + (spaces, dashes, dots, parentheses are cleaned): "
            "remove everything else"
        )
    if not _E164.fullmatch(number):
        raise _invalid("must have 8 to 15 digits after the +, the country code included")
    return number


class _Ranges(NamedTuple):
    """The numbers of a calling code's first country, as `phonenumbers` has them.

    Attributes:
        prefix: what `phonenumbers` may take away in front, to see whether the rest is a number.
        general: a length and a shape that all of them have.
        ordinary: the same for fixed lines and for mobiles.
    """

    prefix: re.Pattern[str]
    general: Callable[[str], bool]
    ordinary: tuple[Callable[[str], bool], ...]


def _is_ordinary(number: str, code: str) -> bool:
    """Whether a number surely is valid: a twentieth of what asking `phonenumbers` costs.

    It asks a country of several for one number the same things, for the first of them first.
    False means nothing: it is asked then.
    """
    ranges, national = _ranges(code), number[1 + len(code) :]
    return (
        ranges is not None
        and not national.startswith("0")  # Italian numbers do, others lose it.
        and not ranges.prefix.match(national)
        and ranges.general(national)
        and any(ordinary(national) for ordinary in ranges.ordinary)
    )


@cache
def _ranges(code: str) -> _Ranges | None:
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)][0]
    found = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if found is None or found.leading_digits is not None:
        return None  # A satellite network, say, or a country that is told by its first digits.
    return _Ranges(
        re.compile(found.national_prefix_for_parsing or _NEVER),
        _is_like(found.general_desc),
        (_is_like(found.fixed_line), _is_like(found.mobile)),
    )


def _is_like(kind: phonenumbers.PhoneNumberDesc | None) -> Callable[[str], bool]:
    lengths = kind.possible_length if kind else ()
    shape = re.compile(kind.national_number_pattern or _NEVER if kind else _NEVER)
    return lambda national: len(national) in lengths and shape.fullmatch(national) is not None


def _ask_phonenumbers(number: str, check: PhoneCheck) -> None:
    parsed = phonenumbers.parse(number)  # Cannot fail: 8 digits or more, country code known.
    # `parse` forgives a national prefix kept after the country code and judges the number without
    # it; ours is sent as written, so the two have to be the same.
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != number:
        raise _invalid("keeps a national prefix after the country code: leave the prefix out")
    # Not `is_possible_number`, which also takes numbers that only reach their own town.
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise _invalid("has a length its country does not use: check the number of digits")
    if check is PhoneCheck.VALID and not phonenumbers.is_valid_number(parsed):
        raise _invalid("is in no number range of its country: check area code and digits")


def _invalid(broken_rule: str) -> Invalid:
    return Invalid(ErrorType.INVALID_PHONE, f"destination {broken_rule}")
