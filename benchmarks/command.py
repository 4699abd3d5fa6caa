"""What the commands of the benchmarks have in common: how they speak, and how they end."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from benchmarks.processes import load
from whatsapp_worker.demo.find import Node, new_node

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


@contextmanager
def node_for_a_million() -> Iterator[Node]:
    """Run a RabbitMQ of our own that may keep a million messages in memory.

    With the 512 MiB of the demo's it stops its publishers every few thousand (measured on 3.10.8).
    """
    with new_node("bench", say) as node:
        node.ctl("set_vm_memory_high_watermark", "absolute", "4GiB")
        yield node


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
