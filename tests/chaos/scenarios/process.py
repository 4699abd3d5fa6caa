"""The daemon's process is killed, frozen, or stuck."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from time import monotonic

from pydantic import SecretStr

from tests.chaos.arena import Arena
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import Watched, sent, texts_of
from tests.integration.fault_campaign import mid_send, sends_under_way
from tests.integration.messages import Planned, Planner
from tests.integration.reckoning import Reckoning, ledger
from tests.support.daemon import START_SECONDS, RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry
from whatsapp_worker.settings import Failpoint, OnUnknown, Settings

KILLS = {OnUnknown.RESEND: 100, OnUnknown.PARK: 50}
"""Of a daemon at random, on each kind of queue."""
KILLS_AT_A_WINDOW = 10
MOST_AT_A_TIME = 40
"""Messages that a daemon may send before it is killed."""
KILLED_WITHIN = 0.02
"""Seconds; any moment of them is as likely as any other, and a send takes half as long."""
TO_SPARE = 5
"""More messages than are sent before a kill: a few go on being sent, or are parked."""
BYSTANDERS = 2
"""Messages beyond those that the kills may hit."""

DROPPED = "of a job dropped"
"""What the log says of every delivery that need not be sent: sent before, or a stale copy."""
WORKS = "the connection to RabbitMQ works"
"""What the log says of every connection that had to be made."""

HEARTBEAT = 2
FREEZES = (4 * HEARTBEAT, 20, 4 * HEARTBEAT)
"""Seconds.  40 s at the default heartbeat of 10 s are four of them; 20 s are more than /livez lets
pass between two beats of the event loop."""

TRIES_TO_HIT = 10
"""Of a send that takes 2 s; one hits it nearly always."""

BLOCKED = 40
"""Seconds for which a send blocks the event loop."""
PROBE_PERIOD, PROBE_TIMEOUT, PROBE_FAILURES = 10.0, 5.0, 3
"""The liveness probe of HEALTH_CHECK.md."""


# Killed at random ---------------------------------------------------------------------------------


@scenario(
    "SIGKILL of the daemon 100 times at random, with ON_UNKNOWN=resend; a tenth of the messages "
    "fails at first: what comes twice was in doubt, at most one for each kill",
    seconds=240,
    quick=25,
)
async def daemon_killed(arena: Arena) -> None:
    found, kills = await _killed_at_random(arena, OnUnknown.RESEND)
    arena.measured("sent twice", found.surplus.total(), at_most=kills)


@scenario(
    "the same 50 times with ON_UNKNOWN=park: nothing comes twice, what was in doubt is parked",
    seconds=120,
    quick=25,
)
async def daemon_killed_park(arena: Arena) -> None:
    found, _ = await _killed_at_random(arena, OnUnknown.PARK)
    arena.measured("sent twice", found.surplus.total(), at_most=0)
    doubted = len(ledger(arena.directory).doubtful)
    _is("parked", len(found.parked), doubted)


async def _killed_at_random(arena: Arena, policy: OnUnknown) -> tuple[Reckoning, int]:
    kills, random = arena.times(KILLS[policy]), arena.planner.random
    # Failing messages fail once more in every process they meet, so the attempts must suffice.
    start = partial(arena.worker, ON_UNKNOWN=policy.value, MAX_ATTEMPTS="100")
    arena.rules.set(latency=KILLED_WITHIN / 2)
    for number in range(kills):
        size = random.randint(1, MOST_AT_A_TIME)
        async with start(ready=not number) as daemon:
            before = len(texts_of(daemon))
            await _publish_named(arena, size + TO_SPARE)
            await sent(daemon, before + size)
            await asyncio.sleep(random.uniform(0, KILLED_WITHIN))
            daemon.kill()
    arena.rules.set()
    async with start() as daemon:
        await _all_settled(arena)
        found = await arena.finish(daemon)
    arena.measured("kills", kills)
    arena.measured("jobs in doubt", len(ledger(arena.directory).doubtful), at_most=kills)
    return found, kills


async def _publish_named(arena: Arena, size: int) -> None:
    """Publish messages that are named, so that a second send can be traced to its row."""
    planner = arena.planner
    made = [planner.failing(1) if planner.random.random() < 0.1 else planner.good()
            for _ in range(size)]  # fmt: skip
    arena.rules.add(planner.rules)
    await arena.publisher.publish(made)


async def _all_settled(arena: Arena) -> None:
    """Return when every named job is done with: after doubles, numbers alone do not tell."""

    def so() -> bool:
        kept = ledger(arena.directory)
        named = [each.ledger_key(kept.secret) for each in arena.publisher.confirmed if each.key]
        states = Counter(kept.jobs[key][0] if key in kept.jobs else "none" for key in named)
        assert states.keys() <= {"SENT", "DEAD"}, states
        return True

    await eventually(so, "every job is sent or dead", 120)


# Killed in each crash window ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table of crash windows (DESIGN 6): what each kill in it leaves behind.

    Attributes:
        message: makes what has to be worked on for the daemon to come there.
        in_doubt: whether the send that was under way is in doubt.
        taken: whether the recipient has the message by then.
        dropped: least and most deliveries that are recognised, and not sent.
        letters_again: least and most dead letters that lie there a second time.
    """

    message: Callable[[Planner], Planned]
    in_doubt: bool = False
    taken: bool = False
    dropped: tuple[int, int] = (0, 0)
    letters_again: tuple[int, int] = (0, 0)


def _good(planner: Planner) -> Planned:
    return planner.good()


def _failing(planner: Planner) -> Planned:
    return planner.failing(1)


def _refused(planner: Planner) -> Planned:
    return planner.refused()


def _invalid(planner: Planner) -> Planned:
    return planner.invalid("no destination")


ONCE, AT_MOST_ONCE = (1, 1), (0, 1)

TABLE = {
    Failpoint.DELIVERED: Row(_good),
    Failpoint.SENDING: Row(_good, in_doubt=True),
    Failpoint.TAKEN: Row(_good, in_doubt=True, taken=True),
    Failpoint.SENT: Row(_good, dropped=ONCE),
    Failpoint.ACKED: Row(_good, dropped=AT_MOST_ONCE),  # Written is not yet on its way.
    Failpoint.FAILING: Row(_failing, in_doubt=True),
    Failpoint.FAILED: Row(_failing),
    Failpoint.COPIED: Row(_failing, dropped=ONCE),
    Failpoint.RETRIED: Row(_failing, dropped=ONCE),
    Failpoint.DEAD_LETTERED: Row(_refused, letters_again=ONCE),
    Failpoint.DEAD: Row(_refused, dropped=ONCE),
    Failpoint.REJECTING: Row(_invalid),
    Failpoint.REJECTED: Row(_invalid),
}
COPIED_FIRST = Row(_invalid, letters_again=AT_MOST_ONCE)
"""REJECTED on a queue that is not ours: a copy is confirmed first, and then it is acked."""


def _killed_at(window: Failpoint) -> Callable[[Arena], Awaitable[None]]:
    async def killed(arena: Arena) -> None:
        quorum = arena.kind is Kind.QUORUM
        row = TABLE[window]
        if window is Failpoint.REJECTED and not quorum:
            row = COPIED_FIRST
        await _fill(arena, window, row, OnUnknown.RESEND if quorum else OnUnknown.PARK)
        if window is Failpoint.DEAD_LETTERED:
            await _replayed_once(arena)

    killed.__name__ = f"killed_at_{window}"
    return killed


for _window in Failpoint:
    scenario(
        f"SIGKILL of the daemon 10 times at the failpoint `{_window}`: exactly what DESIGN 6 says; "
        "ON_UNKNOWN is `resend` on the quorum queue and `park` on the classic one",
        seconds=16,
        quick=6,
    )(_killed_at(_window))


async def _fill(arena: Arena, window: Failpoint, row: Row, policy: OnUnknown) -> None:
    """Kill the daemon in a window again and again, and compare what is found with the table."""
    kills = arena.times(KILLS_AT_A_WINDOW)
    start = partial(arena.worker, ON_UNKNOWN=policy.value)
    deadly = partial(start, FAILPOINT=window.value, ENV="development")
    size = kills + BYSTANDERS
    for number in range(kills):
        async with deadly(ready=not number) as daemon:
            if not number:
                await arena.publish_all([row.message(arena.planner) for _ in range(size)])
            _is("exit code", await daemon.exit_code(START_SECONDS), -SIGKILL)
    async with start() as daemon:
        await _all_settled(arena)
        found = await arena.finish(daemon)
    _compare(arena, found, row, policy, kills)


def _compare(arena: Arena, found: Reckoning, row: Row, policy: OnUnknown, kills: int) -> None:
    doubted = kills if row.in_doubt else 0
    parked = doubted if policy is OnUnknown.PARK else 0
    twice = doubted - parked if row.taken else 0
    to_send = sum(each.sendable for each in arena.publisher.confirmed)
    dropped = sum(file.read_text().count(DROPPED) for file in arena.printed.glob("daemon-*.log"))
    again = found.letters_twice.total()
    arena.measured("kills", kills)
    arena.measured("deliveries recognised and dropped", dropped)
    arena.measured("dead letters twice", again)
    _is("jobs in doubt", len(ledger(arena.directory).doubtful), doubted)
    _is("parked", len(found.parked), parked)
    _is("sent twice", found.surplus.total(), twice)
    _is("different messages sent twice", len(found.surplus), twice)
    _is("sent", found.sent, to_send + twice - (0 if row.taken else parked))
    _is("dropped", dropped, *(bound * kills for bound in row.dropped))
    _is("dead letters twice", again, *(bound * kills for bound in row.letters_again))


async def _replayed_once(arena: Arena) -> None:
    """Replay every dead letter, those that lie there twice too: each job is sent once."""
    arena.rules.add({destination: {} for destination in arena.planner.rules})
    letters = DeadLetters(Settings(rabbitmq_url=SecretStr(arena.url)))
    jobs = {each.text for each in arena.publisher.confirmed}
    async with arena.worker() as daemon:
        count = len([each async for each in letters.replay(_every, _never)])
        arena.note(f"{count} dead letters replayed")
        await daemon.says(DROPPED)
        await sent(daemon, len(jobs))
        _is("exit code", await daemon.stop(), 0)
        _is("dead letters", len([each async for each in letters.entries()]), 0)
    assert Counter(texts_of(daemon)) == Counter(jobs), "a replay was sent twice, or not at all"


def _every(_: Entry) -> bool:
    return True


async def _never(_: Entry) -> str | None:
    return None


def _is(what: str, found: int, least: int, most: int | None = None) -> None:
    """Fail unless a number is what it has to be."""
    most = least if most is None else most
    expected = f"{least}" if least == most else f"{least} to {most}"
    assert least <= found <= most, f"{what}: {found}, and it has to be {expected}"


# Frozen and stuck ---------------------------------------------------------------------------------


@scenario(
    "SIGSTOP of the daemon for 8 to 20 s, the first time in mid-send, then SIGCONT: RabbitMQ "
    f"gives up on it (heartbeat {HEARTBEAT} s), and it goes on",
    seconds=50,
    quick=20,
)
async def daemon_frozen(arena: Arena) -> None:
    answered = 0
    async with arena.worker(may_be_ill=True, RABBITMQ_HEARTBEAT=str(HEARTBEAT)) as daemon:
        async with arena.load(rate=30):
            for number, seconds in enumerate(FREEZES[: arena.times(len(FREEZES))]):
                await _send_slowly(arena, daemon, mid=not number)
                made = daemon.printed.count(WORKS)
                answered += await _freeze(arena, daemon, seconds, mid=not number)
                arena.rules.set()
                await eventually(partial(_more, daemon, made), "RabbitMQ had given it up", 30)
                await daemon.ready()
                await arena.sends_again(daemon)
        await arena.finish(daemon)
    arena.measured("answers of /livez while frozen", answered, at_most=0)


def _more(daemon: RunningDaemon, made: int) -> bool:
    return daemon.printed.count(WORKS) > made


async def _send_slowly(arena: Arena, daemon: RunningDaemon, *, mid: bool) -> None:
    """Return in mid-send, or at a moment like any other."""
    if mid:
        arena.rules.set(latency=2)
        await arena.sends_again(daemon)  # By now each send takes long, or the next one does.
        await arena.sends_again(daemon)
        await mid_send(arena)
    else:
        await arena.sends_again(daemon)
        await asyncio.sleep(arena.planner.random.uniform(0, 0.5))


async def _freeze(arena: Arena, daemon: Watched, seconds: float, *, mid: bool) -> int:
    """Freeze the daemon for so long; returns how often /livez answered all the same."""
    await _stopped(daemon)
    for _ in range(TRIES_TO_HIT):
        if not mid or sends_under_way(arena):
            break
        daemon.signal(SIGCONT)  # The send that was under way had just ended.
        await mid_send(arena)
        await _stopped(daemon)
    else:
        raise AssertionError(f"{TRIES_TO_HIT} times frozen, never in mid-send")
    thaws_at = monotonic() + seconds
    arena.note("frozen")
    answered = 0
    while monotonic() < thaws_at:
        code, _ = await asyncio.to_thread(daemon.process.get, "/livez", 1.0)
        answered += code != 0
    daemon.signal(SIGCONT)
    arena.note("thawed")
    return answered


async def _stopped(daemon: Watched) -> None:
    """Stop the daemon's process; returns when none of its threads goes on."""
    daemon.signal(SIGSTOP)
    threads = Path(f"/proc/{daemon.process.pid}/task")

    def all_stopped() -> bool:
        states = [(each / "stat").read_text().rpartition(")")[2].split()[0]
                  for each in threads.iterdir()]  # fmt: skip
        assert set(states) == {"T"}, states
        return True

    await eventually(all_stopped, "the process is stopped")


@scenario(
    f"a send blocks the event loop for {BLOCKED} s: the liveness probe has failed often enough "
    "within 35 s, and the log says where the loop is",
    seconds=60,
    quick=60,
    kinds=(Kind.QUORUM,),
)
async def loop_blocked(arena: Arena) -> None:
    stuck = "+15550107777"
    arena.rules.add({stuck: {"block": BLOCKED}})
    async with arena.worker(may_be_ill=True) as daemon:
        await arena.publish_all([arena.planner.good(destination=stuck)])
        await mid_send(arena)
        begun = monotonic()
        async with arena.load(rate=20):
            # A probe may have been asked just before, and is asked again in a period's time.
            first = begun + arena.planner.random.uniform(1, PROBE_PERIOD - 0.5)
            await asyncio.sleep(first - monotonic())
            await _probe_fails(daemon)
            failed = monotonic() - begun
            await eventually(lambda: daemon.status("/livez", 200), "it lives again", BLOCKED)
            await daemon.ready()
            await arena.sends_again(daemon)
        await arena.finish(daemon)
    arena.measured("time to the third probe that failed", failed, "s", at_most=35)
    dumps = daemon.printed.count("Timeout (0:00:15)!")
    arena.measured("stack dumps", dumps)
    _is("stack dumps", dumps, 1)
    assert 'sandbox.py", line' in daemon.printed, "the stack dump does not say where the loop is"


async def _probe_fails(daemon: Watched) -> None:
    """Ask as Kubernetes does, and return when it would start the container over."""
    failures = 0
    async with asyncio.timeout(BLOCKED + PROBE_PERIOD):
        while failures < PROBE_FAILURES:
            due = monotonic() + PROBE_PERIOD
            code, _ = await asyncio.to_thread(daemon.process.get, "/livez", PROBE_TIMEOUT)
            failures = 0 if code == 200 else failures + 1
            if failures < PROBE_FAILURES:
                await asyncio.sleep(due - monotonic())
