"""What the commands of the benchmarks have in common: how they speak, and how they end."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from benchmarks.processes import load

BUSY = 1.0
"""A load above which figures tell more about the other processes than about us."""


def say(line: str) -> None:
    """Tell whoever waits; the report alone goes to standard output."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def warn_if_busy() -> None:
    """Say so when the machine has other things to do."""
    if load() > BUSY:
        say(f"The load is {load():.1f} already: figures will be worse than they should be.")


def tell(report: str, file: Path | None) -> None:
    """Print a report, and keep it in a file if it is one of the full plan."""
    sys.stdout.write(report)
    if file is not None:
        file.write_text(report)


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """End the process with what the command returns, given the arguments of the process.

    `timeout` and CI end us with SIGTERM: that is as Ctrl-C here, so that nothing stays behind.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("Stopped.")
        sys.exit(130)
