"""Reads a QR code off a terminal as a phone's camera would."""

import re

import zxingcpp

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UPPER, _LOWER, _BOTH = "\u2580", "\u2584", "\u2588"
_ROW = re.compile(rf"[ \N{{NO-BREAK SPACE}}{_UPPER}{_LOWER}{_BOTH}]{{20,}}")

SCALE = 4
"""Pixels per module: readers need more than one."""


def read_qr(printed: str) -> str | None:
    """Decode the last QR code drawn in half blocks; None if there is none.

    Args:
        printed: what the terminal was given, other lines included.
    """
    drawing: list[str] = []
    for line in reversed(_ANSI.sub("", printed).splitlines()):
        if _ROW.fullmatch(line):
            drawing.insert(0, line)
        elif drawing:
            break
    return _decode(drawing) if drawing else None


def _decode(drawing: list[str]) -> str | None:
    width = max(map(len, drawing))
    rows: list[bytes] = []
    for line in drawing:
        padded = line.ljust(width)
        for blocks in (_UPPER + _BOTH, _LOWER + _BOTH):  # A line of text is two rows of modules.
            # What is drawn is light: terminals are dark.
            pixels = b"".join(bytes([255 if c in blocks else 0]) * SCALE for c in padded)
            rows += [pixels] * SCALE
    image = memoryview(b"".join(rows)).cast("B", shape=(len(rows), width * SCALE))
    found = zxingcpp.read_barcodes(image)
    return found[0].text if found else None
