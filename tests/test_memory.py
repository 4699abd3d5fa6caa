"""What keeps the memory of a process flat: run in a process of its own, because it stays so."""

import subprocess
import sys

from whatsapp_worker.memory import NEW_OBJECTS

MANY_THREADS = """
import ctypes, gc, sys, threading
from whatsapp_worker import memory

if "one" in sys.argv:
    memory.one_heap()
all_there = threading.Barrier(9)

def work():
    kept = [bytes(2000) for _ in range(100)]
    all_there.wait()

for _ in range(8):
    threading.Thread(target=work).start()
all_there.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""
FROZEN = """
import gc
from whatsapp_worker import app, memory

memory.all_is_built()
print(gc.get_freeze_count() > 10_000, gc.isenabled(), len(gc.get_objects()) < 100)
"""
PILE = """
import sys, weakref
from collections import deque
from whatsapp_worker import memory

class Node:
    def __init__(self):
        self.me = self

memory.all_is_built()
there, used, most = weakref.WeakSet(), deque(maxlen=1000), 0
for number in range(20_000):
    used.append(Node())  # For long enough to be no longer among the new ones when it ends.
    there.add(used[-1])
    if "tidy" in sys.argv and number % 100 == 0:
        memory.tidy()
    most = max(most, len(there) - len(used))
print(most)
"""


def run(program: str, *arguments: str) -> str:
    """What a Python program prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_threads_share_one_heap() -> None:
    assert run(MANY_THREADS).count("<heap nr=") > 4
    assert run(MANY_THREADS, "one").count("<heap nr=") == 1


def test_what_was_built_is_not_searched_for_garbage() -> None:
    assert run(FROZEN).split() == ["True", "True", "True"]


def test_garbage_of_cycles_is_gone_whenever_somebody_looked() -> None:
    assert int(run(PILE, "tidy")) <= 100


def test_garbage_of_cycles_is_bounded_however_fast_it_comes() -> None:
    assert int(run(PILE)) < 3 * NEW_OBJECTS
