"""Reads the data of a Go program out of its ELF shared library: sections and arrays of strings."""

import struct
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

from elftools.elf.elffile import ELFFile

HEADER_SIZE = 16
"""A Go string is a pointer and a length of 8 bytes each."""

LONGEST = 200
"""Bytes; a longer "string" is a sign of having looked in the wrong place."""


class UnknownLayout(RuntimeError):
    """The library is not laid out as that of neonize 0.5.2, which these tests know."""


@dataclass(frozen=True)
class GoLibrary:
    """A library in memory."""

    blob: bytes

    @classmethod
    def read(cls, path: Path) -> "GoLibrary":
        """Load it."""
        return cls(path.read_bytes())

    def section(self, name: str) -> tuple[int, int]:
        """File offset and size in bytes of a section.

        Raises: UnknownLayout.
        """
        section = self._elf.get_section_by_name(name)
        if section is None:
            raise UnknownLayout(f"no section {name}")
        return section["sh_offset"], section["sh_size"]

    def strings_from(self, first: str, second: str, count: int) -> tuple[str, ...]:
        """The `count` strings of the array that holds `first` and right after it `second`.

        Raises: UnknownLayout.
        """
        for header in self._pointers:
            if self._string(header) == first and self._string(header + HEADER_SIZE) == second:
                at = range(header, header + count * HEADER_SIZE, HEADER_SIZE)
                return tuple(self._string(each) or "" for each in at)
        raise UnknownLayout(f"no array of strings with {first} and {second}")

    @cached_property
    def _elf(self) -> ELFFile:
        return ELFFile(BytesIO(self.blob))

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        return [
            (each["p_vaddr"], each["p_vaddr"] + each["p_filesz"], each["p_offset"])
            for each in self._elf.iter_segments("PT_LOAD")
        ]

    @cached_property
    def _pointers(self) -> dict[int, int]:
        """Address of a pointer -> address it points to.

        In a shared library a pointer is a relocation (offset, type, addend) for the loader.
        """
        start, size = self.section(".rela.dyn")
        entries = struct.iter_unpack("<QQq", self.blob[start : start + size])
        return {offset: addend for offset, _, addend in entries}

    def _offset(self, address: int) -> int | None:
        for start, end, offset in self._segments:
            if start <= address < end:
                return address - start + offset
        return None

    def _string(self, header: int) -> str | None:
        length_at = self._offset(header + 8)
        at = self._offset(self._pointers.get(header, -1))
        if at is None or length_at is None:
            return None
        (length,) = struct.unpack_from("<q", self.blob, length_at)
        if not 0 < length <= LONGEST:
            return None
        return self.blob[at : at + length].decode(errors="replace")
