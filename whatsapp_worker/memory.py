"""Keeps the memory of a process flat that runs for months."""

import ctypes
import gc
from contextlib import suppress

_ARENA_MAX = -8
"""M_ARENA_MAX in glibc's malloc.h; `man 3 mallopt`."""


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
    """Say that what there is by now stays, so that nobody looks through it for garbage.

    Python else waits with that until a quarter as much has come on top: 12,000 objects, after some
    outages (measured).  And as little is left to look through, it may do so four times as often.
    """
    gc.set_threshold(700, 5, 5)
    gc.freeze()
