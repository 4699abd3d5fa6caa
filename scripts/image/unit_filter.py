"""The system calls that the systemd unit leaves to the worker, as an OCI seccomp profile.

systemd can not be run here, but its filter can: systemd-analyze tells what its sets of calls hold,
and container runtimes take the same rules.  RestrictNamespaces= and the like are left out.
"""

import errno
import mmap
import platform
import re
import socket
from pathlib import Path

from scripts.image.container import call

UNIT = Path("deploy/systemd/whatsapp-worker@.service")
ALWAYS = "@default"
"""systemd adds it to every list of allowed calls (systemd.exec(5))."""

SHM_EXEC = 0o100000
WRITE_AND_EXECUTE = mmap.PROT_WRITE | mmap.PROT_EXEC
JUDGED_BY_ARGUMENTS = frozenset({"mmap", "mprotect", "pkey_mprotect", "shmat", "socket"})
ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

Rule = dict[str, object]


def profile() -> dict[str, object]:
    """SystemCallFilter=, RestrictAddressFamilies= and MemoryDenyWriteExecute= of the unit.

    Raises:
        ImageError: systemd-analyze is not installed.
    """
    unit = UNIT.read_text()
    sets = _sets()
    allowed = _calls(ALWAYS, sets)
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        named = {each for name in line.lstrip("~").split() for each in _calls(name, sets)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    (families,) = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.MULTILINE)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": [ARCHITECTURES[platform.machine()]],
        "syscalls": [
            {"names": sorted(allowed - JUDGED_BY_ARGUMENTS), "action": "SCMP_ACT_ALLOW"},
            *(_family(name) for name in families.split()),
            *_memory_rules(),
        ],
    }


def _sets() -> dict[str, list[str]]:
    """systemd's sets of calls: what stands in each, other sets included."""
    sets: dict[str, list[str]] = {}
    for line in call("systemd-analyze", "--no-pager", "syscall-filter").splitlines():
        if line.startswith("@"):
            sets[line.strip()] = inside = []
        elif line.startswith(" ") and not line.strip().startswith("#"):
            inside.append(line.strip())
    return sets


def _calls(name: str, sets: dict[str, list[str]]) -> frozenset[str]:
    if not name.startswith("@"):
        return frozenset({name})
    return frozenset(each for inside in sets[name] for each in _calls(inside, sets))


def _family(name: str) -> Rule:
    return _allow("socket", {"index": 0, "op": "SCMP_CMP_EQ", "value": getattr(socket, name)})


def _memory_rules() -> list[Rule]:
    """Memory is writable or executable, never both, and never becomes executable later."""
    mappings = (0, mmap.PROT_WRITE, mmap.PROT_EXEC)
    return [
        *(_allow("mmap", _masked(2, WRITE_AND_EXECUTE, each)) for each in mappings),
        _allow("mprotect", _masked(2, mmap.PROT_EXEC, 0)),
        _allow("pkey_mprotect", _masked(2, mmap.PROT_EXEC, 0)),
        _allow("shmat", _masked(2, SHM_EXEC, 0)),
    ]


def _masked(index: int, mask: int, value: int) -> Rule:
    return {"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}


def _allow(name: str, argument: Rule) -> Rule:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}
