"""How much is drawn, and how bytes that were once good are spoilt."""

from hypothesis import settings
from hypothesis import strategies as st

ORDINARY = 100
"""Examples of a test that does not say how many, in an ordinary run."""


def examples(count: int) -> settings:
    """Draw so many in an ordinary run, and with another profile more in proportion.

    pytest --hypothesis-profile=long tests/fuzz
    """
    return settings(max_examples=count * settings().max_examples // ORDINARY)


@st.composite
def spoilt(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Take good bytes, and a few times change, cut, repeat or insert some."""
    raw = draw(good)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 8)))
        other = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b'"'])
            | st.just(raw[start:end] * 2)
        )
        raw = raw[:start] + other + raw[end:]
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.integers(0, 4)) == 0 else raw
