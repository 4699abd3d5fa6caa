"""Keeps the memory of a process flat that runs for months."""

import ctypes
import gc
from contextlib import suppress

_ARENA_MAX = -8
"""M_ARENA_MAX in glibc's malloc.h; `man 3 mallopt`."""
ARENAS = 2
"""Heaps that threads share.  By default each thread may get one of its own, eight for every core,
and what is freed in one is no use to the others: the ledger's cache of 2 MB, whose thread changes
with every outage of the disk, came to lie in several (measured)."""


def few_arenas() -> None:
    """Have threads share their heaps; call it before there are any.  Without glibc, do nothing."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, ARENAS)


def all_is_built() -> None:
    """Say that what there is by now stays, so that nobody looks through it for garbage.

    Python else waits with that until a quarter as much has come on top: 12,000 objects, after some
    outages (measured).  And as little is left to look through, it may do so four times as often.
    """
    gc.set_threshold(700, 5, 5)
    gc.freeze()
