"""What the kernel tells about a process and the machine (Linux, `man 5 proc`)."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds at a moment.

    Attributes:
        rss: resident memory in MB (10^6 bytes).
        threads, descriptors: how many.
    """

    rss: float
    threads: int
    descriptors: int


def cpu_seconds(pid: int) -> float:
    """Processor time of a process since it began, all its threads, to a hundredth of a second."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def footprint(pid: int) -> Footprint:
    """What a process holds now."""
    fields = _stat(pid)
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Footprint(int(fields[21]) * _PAGE / 1e6, int(fields[17]), descriptors)


def ended(pid: int) -> bool:
    """Whether a child process has ended, be it waited for or not."""
    try:
        return _stat(pid)[0] == "Z"
    except FileNotFoundError:
        return True


def file_system(directory: Path) -> str:
    """The kind of file system a directory is on, such as "ext4" or "tmpfs"."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    kinds = {Path(mounted): kind for _, mounted, kind, *_ in mounts}
    return next(kinds[each] for each in [directory, *directory.parents] if each in kinds)


def machine() -> str:
    """Processor, number of cores and operating system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def load() -> float:
    """How many processes wanted a processor during the last minute, on average."""
    return os.getloadavg()[0]


def _stat(pid: int) -> list[str]:
    """The fields behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
