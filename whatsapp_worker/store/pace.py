"""Whether the ledger's file answers so quickly that the event loop may wait for it."""

from collections.abc import Callable
from time import monotonic

QUICK = 0.005
"""Seconds that a commit may take on average without being left to the file's thread.  A read is
counted with them when it takes longer than that; all others say nothing of the disk."""

MUCH_TOO_LONG = 1.0
"""Seconds that not even a single commit may take."""

SLOW_FOR = 60.0
"""Seconds after which a file that was too slow may show that it no longer is."""


class Pace:
    """Whether a file is quick enough to be waited for.

    A single commit of some tenths of a second says little: one of some hundred moves SQLite's log
    into the file, and others use the disk as well.

    Args:
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._average = 0.0
        self._slow_until = 0.0

    @property
    def quick(self) -> bool:
        """Whether it is, as far as known."""
        return self._clock() >= self._slow_until

    def took(self, seconds: float) -> None:
        """Learn from how long a piece of work took."""
        self._average += (min(seconds, 10 * QUICK) - self._average) / 32
        if self._average > QUICK or seconds > MUCH_TOO_LONG:
            self._average, self._slow_until = 0.0, self._clock() + SLOW_FOR
