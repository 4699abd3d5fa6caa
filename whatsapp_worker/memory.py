"""Keeps the memory of a process flat that runs for months."""

import ctypes
import gc
from contextlib import suppress

_ARENA_MAX = -8
"""M_ARENA_MAX in glibc's malloc.h; `man 3 mallopt`."""
NEW_OBJECTS = 2_000
"""How many more than before make Python look for garbage, should a second be too long for that."""


def one_heap() -> None:
    """Have all threads share one heap; call it before there are any.  Without glibc, do nothing.

    By default a thread gets one of its own, up to eight for every core, and what is freed in one is
    no use to the others.  The thread of the ledger's file changes with every outage of the disk,
    and with it the heap in which SQLite's cache of 2 MB lay: the old place stayed (measured, with
    two heaps as well).  With the GIL there is nobody to wait for one heap.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def all_is_built() -> None:
    """Say that what there is by now stays, so that nobody looks through it for garbage."""
    gc.set_threshold(NEW_OBJECTS, 0, 0)
    gc.collect()
    gc.freeze()


def tidy() -> None:
    """Look for garbage; call it once a second.

    With a few thousand objects left to look through, all others being frozen, that takes less than
    a millisecond.  Else what outages leave in cycles, connections and tracebacks, piles up by
    chance, to 5,000 objects in two minutes; and a megabyte that was taken for such a pile is not
    handed back (measured in soaks).
    Python itself counts objects: it would look seldom in an outage, when little happens, and often
    when a hundred jobs at a time come and go, which leave no such garbage.
    """
    gc.collect()
