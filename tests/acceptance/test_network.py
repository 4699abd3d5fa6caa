"""Nothing of the acceptance tests reaches beyond this machine, and what tried would be noticed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRY_TO_LEAVE = """
import socket, sys
from tests.acceptance.network import attempts, is_offline
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
before = attempts()
for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
    for kind in kinds:
        assert socket.socket(family, kind).connect_ex((address, 443)) != 0
sys.exit(0 if is_offline() and attempts() == before + 4 else 1)
"""
"""The addresses are reserved for documents (RFC 5737, RFC 3849)."""


@pytest.mark.long
def test_whatever_tries_to_leave_this_machine_is_counted() -> None:
    offline = [str(ROOT / "scripts/offline"), sys.executable, "-c", TRY_TO_LEAVE]
    assert subprocess.run(offline, cwd=ROOT, timeout=60, check=False).returncode == 0
