"""Texts: what every policy refuses, and that ordinary messages pass and attacks do not."""

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whatsapp_worker.content import _FORBIDDEN, ContentPolicy, check_text
from whatsapp_worker.errors import ErrorType, Invalid

CORPUS = Path(__file__).parent / "corpus"


def corpus(name: str) -> list[dict[str, str]]:
    lines = (CORPUS / name).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


ORDINARY = corpus("ordinary.jsonl")
ATTACKS = corpus("attacks.jsonl")


def test_a_text_that_can_be_printed_holds_nothing_that_is_forbidden() -> None:
    """So only the others are looked through."""
    printable = "".join(filter(str.isprintable, map(chr, range(sys.maxunicode + 1))))
    assert len(printable) > 100_000
    assert [kind for kind, pattern in _FORBIDDEN if pattern.search(printable)] == []


def refusal(text: str, policy: ContentPolicy = ContentPolicy.STANDARD) -> Invalid:
    with pytest.raises(Invalid) as caught:
        check_text(text, policy)
    assert caught.value.detail.startswith("text_message ")
    return caught.value


def verdict(text: str, policy: ContentPolicy) -> Invalid | None:
    try:
        check_text(text, policy)
    except Invalid as error:
        return error
    return None


def pieces(text: str) -> set[str]:
    return {text[start : start + 6] for start in range(len(text) - 5)}


def test_the_corpora_are_as_large_and_as_mixed_as_promised() -> None:
    texts = {row["text"] for row in ORDINARY}
    english = [row for row in ORDINARY if row["language"] == "en"]
    assert len(texts) == len(ORDINARY) >= 320
    assert len(english) <= len(ORDINARY) / 2
    assert len({row["language"] for row in ORDINARY}) >= 24
    assert len({row["text"] for row in ATTACKS}) == len(ATTACKS) >= 120


@pytest.mark.parametrize("text", [row["text"] for row in ORDINARY])
def test_accepts_ordinary_messages(text: str) -> None:
    check_text(text, ContentPolicy.STANDARD)


@pytest.mark.parametrize("text", [row["text"] for row in ATTACKS])
def test_refuses_attacks_names_the_fix_and_repeats_nothing_of_them(text: str) -> None:
    for policy in (ContentPolicy.STANDARD, ContentPolicy.STRICT):
        error = refusal(text, policy)
        assert error.error_type is ErrorType.CONTENT_POLICY
        assert error.detail.endswith("or set CONTENT_POLICY=off")
        assert not any(piece in str(error) for piece in pieces(text))


@pytest.mark.parametrize("text", [row["text"] for row in ATTACKS])
def test_accepts_attacks_when_the_policy_is_off(text: str) -> None:
    check_text(text, ContentPolicy.OFF)


MARKUP = [row["text"] for row in ATTACKS if row["kind"].startswith("xss")]


@pytest.mark.parametrize("text", MARKUP)
def test_refuses_markup_wherever_it_stands_in_a_long_message(text: str) -> None:
    line = "It's an ordinary line of a message; nothing to see.\n"
    assert refusal(line * 30 + text + "\n" + line * 30).error_type is ErrorType.CONTENT_POLICY


@pytest.mark.parametrize(
    "text",
    [
        "I'm here", "Order #12", "*bold*", "please update", "a; b", "50% -- today", "this | that",
        "select one", "execute it", "1 or 1 = 1", "once = 3", "<iframe", "a <script> b", "/* x",
        "javascript: the good parts", "UNION 1=1",
    ],
)  # fmt: skip
def test_strict_refuses_the_seeds_words_and_signs(text: str) -> None:
    error = refusal(text, ContentPolicy.STRICT)
    assert error.error_type is ErrorType.CONTENT_POLICY
    assert "CONTENT_POLICY=" in error.detail


def test_strict_names_the_milder_policy_as_the_way_out() -> None:
    detail = refusal("I'm here", ContentPolicy.STRICT).detail
    assert detail.endswith("or set CONTENT_POLICY=standard")


def test_strict_accepts_plain_words() -> None:
    check_text(
        "Your parcel arrives at 9:30, see you. Updated selection, 2 or 3!", ContentPolicy.STRICT
    )


@pytest.mark.parametrize("policy", list(ContentPolicy))
@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n\t\r\n", "\u00a0\u3000", "\u200b", "\u200d\u200c", "\ufeff", "\u2060\u00ad",
        "\u200e\u200f\u061c", "\u2068\u2069", "\u3164", "\u2800", "\ufe0f", "\U000e0100",
        "\U000e0067", "\u2028", "\u034f",
    ],
)  # fmt: skip
def test_refuses_a_text_that_shows_nothing(text: str, policy: ContentPolicy) -> None:
    error = refusal(text, policy)
    assert error.error_type is ErrorType.INVALID_TEXT
    assert "shows nothing" in error.detail


def test_counts_characters_and_not_bytes() -> None:
    for character in ("a", "ã", "漢", "😀"):
        check_text(character * 4096, ContentPolicy.STANDARD)
        error = refusal(character * 4097)
        assert error.error_type is ErrorType.INVALID_TEXT
        assert "4096" in error.detail


def test_refuses_every_control_character_but_newline_and_tab() -> None:
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\n\t\r":
            assert "control character" in refusal(f"a{chr(code)}b", ContentPolicy.OFF).detail
    check_text("a\n\tb", ContentPolicy.OFF)


def test_accepts_windows_line_ends_and_refuses_a_lone_carriage_return() -> None:
    check_text("one\r\ntwo\r\n", ContentPolicy.STANDARD)
    for text in ("a\rb", "a\r", "a\r\r\nb"):
        assert "carriage return" in refusal(text, ContentPolicy.OFF).detail


@pytest.mark.parametrize("mark", list("\u202a\u202b\u202c\u202d\u202e"))
def test_refuses_bidirectional_embeddings_and_overrides(mark: str) -> None:
    assert "U+202A" in refusal(f"file{mark}txt", ContentPolicy.OFF).detail


@pytest.mark.parametrize("mark", list("\u200e\u200f\u061c\u200c\u200d\u2066\u2067\u2068\u2069"))
def test_accepts_the_marks_joiners_and_isolates_real_languages_need(mark: str) -> None:
    check_text(f"a{mark}b", ContentPolicy.STANDARD)


@pytest.mark.parametrize("text", ["a\ud800", "\udc00b", "\ude00\ud83d"])
def test_refuses_lone_surrogates(text: str) -> None:
    assert "surrogate" in refusal(text, ContentPolicy.OFF).detail


PROSE = (
    "select from where union update delete insert drop table create alter execute into set values "
    "order group by all the a our we you and or not please script iframe object javascript on "
    "click event null like is 5 12 3.50 I'm d'água O'Brien naïve l'été заказ طلب 订单"
)
WORDS = st.sampled_from(PROSE.split(" "))
SEPARATORS = st.sampled_from([" ", " ", " ", ", ", ". ", "! ", "? ", "\n", ": ", " \u2013 "])


@given(st.lists(st.tuples(WORDS, SEPARATORS), min_size=1, max_size=40))
def test_never_refuses_prose_for_its_words(parts: list[tuple[str, str]]) -> None:
    prose = "".join(word + separator for word, separator in parts)
    if "union all select" in " ".join(prose.split()):  # Three words in a row: the attack itself.
        return
    check_text(f"Hi, {prose}", ContentPolicy.STANDARD)


ANY_TEXT = st.text(st.characters(), max_size=200) | st.text(
    st.sampled_from(list("'\"<>/;:=#-*%&()\\x27ab \n\r\t\u200d\u202e\ud800\uff07\ufdfa")),
    max_size=200,
)


@given(ANY_TEXT, st.sampled_from(ContentPolicy))
@example("&#" + "9" * 4000, ContentPolicy.STANDARD)
@example("&#x110000;&#xd800;&#1114112;", ContentPolicy.STRICT)
@example("&#" + "\u3251" * 4000, ContentPolicy.STANDARD)
@example("%" * 4096, ContentPolicy.STANDARD)
@example("\ufdfa" * 4096, ContentPolicy.STANDARD)
def test_returns_or_raises_invalid_for_any_text(text: str, policy: ContentPolicy) -> None:
    error = verdict(text, policy)
    reasons = {ErrorType.INVALID_TEXT, ErrorType.CONTENT_POLICY}
    assert error is None or error.error_type in reasons


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf"]), min_size=6))
def test_no_refusal_depends_on_the_text(text: str) -> None:
    def detail_of(attack: str) -> str:
        return refusal(attack, ContentPolicy.STRICT).detail

    assert detail_of(f"<script>{text}") == detail_of("<script>")
    assert detail_of(f"\x00{text}") == detail_of("\x00")
