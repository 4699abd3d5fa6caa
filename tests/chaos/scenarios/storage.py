"""The ledger can not be used: the worker sends nothing, says so, and goes on when it is mended."""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.chaos.arena import Arena, now
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import locked_ledger, texts_of
from tests.integration.reckoning import ledger
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually

RATE = 30
OUTAGE_SECONDS = 3.0
CLOSED_WITHIN = 1.0
"""Seconds after which nothing may be sent any more."""
PAGE = 4096
"""Bytes of a page of the ledger."""
SMALL_DISK = "size=12m,mode=700"
"""Room for the ledger and what SQLite keeps beside it."""
FILES = ("ledger.db", "ledger.db*")
"""What is deleted, by turns: the ledger alone, and all that belongs to it."""


@scenario("another program locks the ledger for seconds, again and again", seconds=35, quick=14)
async def ledger_locked(arena: Arena) -> None:
    late = []
    async with arena.worker() as daemon:
        async with arena.load(RATE):
            for number in range(arena.times(5)):
                await arena.sends_again(daemon)
                with locked_ledger(arena.directory):
                    begun = now()
                    await _fails_closed(arena, daemon, number + 1)
                    late.append(max(0.0, arena.sent_at(daemon)[-1] - begun))
                await arena.sends_again(daemon)
        await arena.finish(daemon)
    arena.measured("last send after the lock", max(late), "s", at_most=CLOSED_WITHIN)


@scenario(
    "the disk of the ledger is full, while the worker runs and when it starts",
    seconds=35,
    quick=15,
    kinds=(Kind.QUORUM,),
)
async def ledger_full(arena: Arena) -> None:
    session = _session(arena)
    with _mounted(session, "-t", "tmpfs", "-o", SMALL_DISK, "none"):
        async with arena.worker() as daemon, arena.load(RATE):
            for number in range(arena.times(5)):
                await arena.sends_again(daemon)
                with _full(session):
                    await _fails_closed(arena, daemon, number + 1)
                await arena.sends_again(daemon)
            assert await daemon.stop() == 0
        with _full(session):
            await _refuses_to_start(arena, "the ledger", "not full")
        async with arena.worker() as daemon:
            await arena.finish(daemon)


@scenario(
    "nothing can be written: into the directory, into the ledger, when it has to be opened anew",
    seconds=20,
    quick=25,
    kinds=(Kind.QUORUM,),
)
async def ledger_read_only(arena: Arena) -> None:
    session = _session(arena)
    async with arena.worker() as daemon, arena.load(RATE):
        await arena.sends_again(daemon)
        assert await daemon.stop() == 0
    with _read_only(session):
        await _refuses_to_start(arena, "Read-only file system", "this user can write to")
    with _read_only(session / "ledger.db"):
        await _refuses_to_start(arena, "the ledger", "Read-only file system", "is writable")
    async with arena.worker() as daemon, arena.load(RATE):
        await arena.sends_again(daemon)
        with ExitStack() as mending:
            with locked_ledger(arena.directory):  # What is open can be written until it is closed.
                await _fails_closed(arena, daemon, 1)
                mending.enter_context(_read_only(session))
                await eventually(lambda: _unready(daemon, "Read-only"), "it is opened anew")
            await _fails_closed(arena, daemon, 1)
        await arena.sends_again(daemon)
        assert await daemon.stop() == 0
    async with arena.worker() as daemon:
        await arena.finish(daemon)


@scenario(
    "pages of the ledger are overwritten while the worker is stopped; it is moved away then",
    seconds=40,
    quick=10,
    kinds=(Kind.QUORUM,),
)
async def ledger_corrupt(arena: Arena) -> None:
    arena.once_only = True
    file = _session(arena) / "ledger.db"
    for number in range(arena.times(8)):
        async with arena.worker() as daemon, arena.load(RATE):
            await arena.sends_again(daemon)
            await asyncio.sleep(1)  # So that it is more than a page or two.
            assert await daemon.stop() == 0
        assert arena.never_in_doubt()
        _damage(file, arena.planner.random)
        await _refuses_to_start(arena, "the ledger", "malformed", "move a damaged file away")
        file.rename(file.with_name(f"damaged-{number}.db"))
    async with arena.worker() as daemon:
        await arena.finish(daemon)


@scenario(
    "the ledger is deleted: under the running worker, between two runs, with a killed worker",
    seconds=35,
    quick=25,
)
async def ledger_deleted(arena: Arena) -> None:
    await _deleted_while_it_runs(arena)
    arena.once_only = True
    await _deleted_between_runs(arena)
    arena.named_only = True  # So that the old ledger tells which jobs were open.
    repeatable = await _deleted_with_a_killed_worker(arena)
    async with arena.worker() as daemon:
        result = await arena.finish(daemon)
    # DESIGN 6: with the ledger lost, what was unacked or on the retry ladder may be sent again,
    # and nothing is left that could tell of it.  That, and not a message more.
    again = sum(min(times, repeatable[text]) for text, times in result.surplus.items())
    assert arena.verdict is not None
    arena.verdict = replace(arena.verdict, unexplained=arena.verdict.unexplained - again)
    arena.measured("open jobs whose ledger was lost", repeatable.total())
    arena.measured("of these sent twice", again, at_most=repeatable.total())


async def _deleted_while_it_runs(arena: Arena) -> None:
    session = _session(arena)
    async with arena.worker() as daemon:
        async with arena.load(RATE):
            for number in range(arena.times(6)):
                await arena.sends_again(daemon)
                _delete(session, FILES[number % 2])
                await _written_anew(daemon, number + 1)
                await arena.sends_again(daemon)
                assert _every_send_is_written(arena, daemon)
        result = await arena.finish(daemon)
    assert result.never_twice()


async def _written_anew(daemon: RunningDaemon, times: int) -> None:
    await eventually(lambda: daemon.printed.count("written anew") == times, "it is back", 30)


async def _deleted_between_runs(arena: Arena) -> None:
    for number in range(arena.times(4)):
        async with arena.worker() as daemon, arena.load(RATE):
            await arena.sends_again(daemon)
            assert await daemon.stop() == 0
        assert arena.never_in_doubt()
        _delete(_session(arena), FILES[number % 2])


async def _deleted_with_a_killed_worker(arena: Arena) -> Counter[str]:
    """Returns what may be sent again, and how often: what was open when its ledger was lost."""
    repeatable = Counter[str]()
    for number in range(arena.times(6)):
        async with arena.worker() as daemon, arena.load(RATE):
            await arena.sends_again(daemon)
            await asyncio.sleep(arena.planner.random.random())  # Any moment will do.
            daemon.kill()
        repeatable.update(_open_jobs(arena, daemon))
        _delete(_session(arena), FILES[number % 2])
    return repeatable


def _open_jobs(arena: Arena, daemon: RunningDaemon) -> set[str]:
    """Texts of the jobs that the ledger has not seen through, and of the one not acked perhaps."""
    kept = ledger(arena.directory)
    published = [*arena.publisher.confirmed, *arena.publisher.unknown]
    states = {each.text: kept.jobs.get(each.ledger_key(kept.secret)) for each in published}
    begun = {text for text, row in states.items() if row and row[0] not in {"SENT", "DEAD"}}
    return begun | set(texts_of(daemon)[-1:])


# Ways to break it ---------------------------------------------------------------------------------


def _session(arena: Arena) -> Path:
    session = arena.directory / "session"
    session.mkdir(mode=0o700, exist_ok=True)
    return session


@contextmanager
def _mounted(where: Path, *how: str) -> Iterator[None]:
    done = subprocess.run(["mount", *how, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            "this fault needs to mount something, which root may, and `make chaos` in a namespace "
            f"of its own (scripts/offline): {done.stderr.strip()}"
        )
    try:
        yield
    except BaseException:
        if where.is_dir():  # Evidence.
            shutil.copytree(where, where.with_name(f"{where.name}-as-it-was"))
        raise
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@contextmanager
def _read_only(path: Path) -> Iterator[None]:
    """Let nobody write to a file or directory; whoever has it open goes on as before."""
    with _mounted(path, "--bind", str(path)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Take all room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(PAGE)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


def _damage(file: Path, random: Random) -> None:
    """Overwrite a few pages, but not the first: it would no longer be a database at all."""
    pages = file.stat().st_size // PAGE
    with file.open("r+b") as database:
        for page in random.sample(range(1, pages), min(3, pages - 1)):
            database.seek(page * PAGE)
            database.write(random.randbytes(PAGE))


def _delete(session: Path, pattern: str) -> None:
    for file in session.glob(pattern):
        file.unlink()


# What has to be true then -------------------------------------------------------------------------


async def _fails_closed(arena: Arena, daemon: RunningDaemon, pauses: int) -> None:
    """Return when it has paused so often, and stayed so for a while; it must not send meanwhile."""
    await eventually(lambda: _paused(daemon) == pauses, "a pause", 30)
    await eventually(lambda: _unready(daemon, "ledger"), "not ready")
    arena.note("paused (ledger)")
    before = daemon.outbox.stat().st_size
    await asyncio.sleep(OUTAGE_SECONDS)
    assert await _unready(daemon, "the ledger")
    assert _paused(daemon) == pauses, "it takes it for mended again and again"
    assert daemon.outbox.stat().st_size == before, "it sends without a ledger"
    assert _every_send_is_written(arena, daemon)


def _paused(daemon: RunningDaemon) -> int:
    """How often it has paused for the ledger's sake."""
    return daemon.printed.count('"paused (ledger): ')


async def _unready(daemon: RunningDaemon, why: str) -> bool:
    code, body = await daemon.get("/readyz")
    assert (code, why in body) == (503, True), (code, body)
    return True


def _every_send_is_written(arena: Arena, daemon: RunningDaemon) -> bool:
    """Whether each named job that was sent has its row."""
    texts = set(texts_of(daemon))
    kept = ledger(arena.directory)
    published = [*arena.publisher.confirmed, *arena.publisher.unknown]
    named = {p.ledger_key(kept.secret) for p in published if p.key and p.text in texts}
    assert named <= kept.jobs.keys(), f"{len(named - kept.jobs.keys())} sends without a row"
    return True


async def _refuses_to_start(arena: Arena, *words: str) -> None:
    """A worker that is started now ends with 78 and one sentence, and sends nothing."""
    async with arena.worker(ready=False) as daemon:
        before = daemon.outbox.stat().st_size
        assert await daemon.exit_code(60) == os.EX_CONFIG, daemon.printed[-2000:]
        assert daemon.outbox.stat().st_size == before
    said = [line for line in daemon.printed.splitlines() if '"CRITICAL"' in line]
    assert len(said) == 1, said
    assert all(word in said[0] for word in words), said
    assert "Traceback" not in daemon.printed
    arena.note(said[0])
