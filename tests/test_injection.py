"""The patterns match in linear time, and the readings undo what hides an attack."""

import re
import sys
import time
import unicodedata
from collections.abc import Iterator
from re import _constants as code  # type: ignore[attr-defined]  # No public way to walk a pattern.
from re import _parser as parser  # type: ignore[attr-defined]  # Private, and the only parser of patterns there is.
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whatsapp_worker import injection
from whatsapp_worker.injection import STANDARD, STRICT, readings

PATTERNS = [pattern for rule in (*STANDARD, *STRICT) for pattern in rule.patterns]
REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT)


def repeats(node: Any, inside: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """For every repeat in a parsed pattern, how often it and those around it may repeat."""
    if isinstance(node, tuple) and node and node[0] in REPEATS:
        least, most, body = node[1]
        chain = (*inside, most if most != least else 1)
        yield chain
        yield from repeats(body, chain)
    elif isinstance(node, (tuple, list, parser.SubPattern)):
        for child in node:
            yield from repeats(child, inside)


def is_linear(pattern: str) -> bool:
    """Bounded repeats, none that varies inside another that goes round more than once."""
    return all(
        max(chain) <= 400 and sum(most > 1 for most in chain) <= 1
        for chain in repeats(parser.parse(pattern))
    )


def test_no_blank_but_the_ordinary_one_can_be_printed() -> None:
    """So only texts with another one, or with two in a row, have blanks to be made one."""
    printable = "".join(filter(str.isprintable, map(chr, range(sys.maxunicode + 1))))
    assert re.findall(r"\s", printable) == [" "]


TEXTS = st.text(st.sampled_from(" \t\n\xa0\u2003\u200bab%&;\\0123456789x7u#lt") | st.characters())


@given(TEXTS)
@example("a  b\u00a0\n \n c")
@example("%27 &#39; &lt; \\x27 \\u0027")
def test_readings_are_the_same_without_shortcuts(text: str) -> None:
    def squeeze(text: str) -> str:
        return injection._LINE_ENDS.sub("\n", injection._BLANKS.sub(" ", text))

    def decode(text: str) -> str:
        if injection._PERCENT.search(text):
            text = unquote(text.replace("+", " "))
        text = injection._ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        return injection._ENTITY.sub(injection._character, text)

    assert injection._squeeze(text) == squeeze(text)
    assert injection._decode(text) == decode(text)


@pytest.mark.parametrize("pattern", [pattern.pattern for pattern in PATTERNS])
def test_every_pattern_has_only_bounded_repeats_that_do_not_nest(pattern: str) -> None:
    assert is_linear(pattern)


@pytest.mark.parametrize("pattern", [r"a*", r"(?:a{0,9}b?){0,9}", r"(a+)+$", r"x(?:y{1,401})?"])
def test_the_check_of_patterns_finds_those_that_may_explode(pattern: str) -> None:
    assert not is_linear(pattern)


def surely_has(sign: re.Pattern[str], node: Any) -> bool:
    """Whether every text that matches a part of a parsed pattern has the sign in it."""
    kind, value = node
    match kind:
        case code.LITERAL:
            return bool(sign.search(chr(value)))
        case code.IN:
            return all(each[0] == code.LITERAL and surely_has(sign, each) for each in value)
        case code.BRANCH:
            return all(is_sign_of(sign, branch) for branch in value[1])
        case code.SUBPATTERN:
            return is_sign_of(sign, value[-1])
        case code.MAX_REPEAT:
            return value[0] > 0 and is_sign_of(sign, value[-1])
        case _:
            return False


def is_sign_of(sign: re.Pattern[str], sequence: Any) -> bool:
    """Whether all that matches a parsed pattern has the sign: in one of its parts, or spelled."""
    spelled = "".join(chr(value) if kind == code.LITERAL else "\0" for kind, value in sequence)
    return bool(sign.search(spelled)) or any(surely_has(sign, node) for node in sequence)


@pytest.mark.parametrize(
    ("sign", "pattern"),
    [(rule.sign, each.pattern) for rule in (*STANDARD, *STRICT) for each in rule.patterns],
)
def test_no_text_without_the_sign_of_a_rule_matches_it(sign: re.Pattern[str], pattern: str) -> None:
    assert is_sign_of(sign, parser.parse(pattern))


@pytest.mark.parametrize("pattern", ["a", ";?", "[;a]", "(?:;|a)", "[^a]", r"\W", "-;?-", "; or|x"])
def test_the_check_of_signs_finds_those_that_may_be_missing(pattern: str) -> None:
    assert not is_sign_of(re.compile(";|--"), parser.parse(pattern))


HOSTILE = [
    "a", " ", "\n", "'", '"', "<", "<a ", "<a on", "<script ", "' or ", "' or a", "';", "; drop ",
    "union select ", "union select a,", "javascript:", "j a v a ", "on", "onclick", "%27", "%25",
    "&#0", "&#39;", "&", "/*", "/**/", "/*!5", "--", "#", "1 or ", "?a=", "' and (select ", "\\x2",
    "; update a set ", "; insert into a (", "a.", "\ufdfa", "(", "<a style=", "&lt;", "x'", "+",
]  # fmt: skip


def cpu_seconds(text: str) -> float:
    """The least of three tries, in CPU time of this thread: other processes do not count."""

    def once() -> float:
        started = time.thread_time()
        texts = readings(text)
        for pattern in PATTERNS:
            for each in texts:
                pattern.search(each)
        return time.thread_time() - started

    return min(once() for _ in range(3))


@pytest.mark.parametrize("piece", HOSTILE)
def test_eight_times_the_text_takes_nowhere_near_sixty_four_times_the_work(piece: str) -> None:
    long = (piece * 4096)[:4096]
    assert cpu_seconds(long) < 28 * cpu_seconds(long[:512])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("' OR", "' or"),
        ("%27 or", "' or"),
        ("%2527+or", "' or"),
        ("&#39; or", "' or"),
        ("&#x27; or", "' or"),
        ("&apos; or", "' or"),
        ("\\x27 or", "' or"),
        ("\\u0027 or", "' or"),
        ("\uff07\u3000\uff4f\uff52", "' or"),
        ("'\u200b o\u200dr", "' or"),
        ("'  \t or", "' or"),
        ("' \n\n or", "'\nor"),
        ("' o/**/r", "' or"),
        ("'/* x */or", "' or"),
        ("' /*!50000or*/", "' or "),
        ("&#x110000;' or", "' or"),
    ],
)
def test_reads_through_what_hides_an_attack(written: str, read: str) -> None:
    assert read in readings(written)


def test_reads_a_plain_text_once() -> None:
    assert readings("Plain, 100% ordinary text") == ("plain, 100% ordinary text",)


def test_kinds_are_told_apart_by_name() -> None:
    kinds = [rule.kind for rule in (*injection.STANDARD, *injection.STRICT)]
    assert len(set(kinds)) == len(kinds)


@given(st.text(st.sampled_from("aZ'%27&#3;\\x \n\t\u00a0\u3000\u0130\ufdfa\u200b/*")))
def test_the_shortcuts_of_the_readings_change_nothing(text: str) -> None:
    def fold(text: str) -> str:
        normal = unicodedata.normalize("NFKC", text)
        return normal.translate(dict.fromkeys(map(ord, "\u200b"))).lower()

    def squeeze(text: str) -> str:
        return re.sub(r" ?\n[ \n]*", "\n", re.sub(r"[^\S\n]+", " ", text))

    assert injection._fold(text) == fold(text)
    assert injection._squeeze(text) == squeeze(text)
    decoded = fold(text)
    for _ in range(3):
        decoded = fold(injection._decode(decoded))
    assert {squeeze(fold(text)), squeeze(decoded)} <= set(readings(text))
