"""The daemon is told to stop, whatever it is doing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from signal import SIGTERM
from time import monotonic
from typing import TypeVar

from tests.chaos.arena import Arena
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import Watched, locked_ledger, sent
from tests.integration.fault_campaign import long_pause, mid_send, paused
from tests.integration.gate import Way
from tests.integration.reckoning import Reckoning, ledger
from tests.support.amqp import DEAD_LETTERS, connect
from tests.support.daemon import START_SECONDS
from tests.support.eventually import eventually

T = TypeVar("T")

ENOUGH_ATTEMPTS = {"MAX_ATTEMPTS": "100"}
"""What fails at first fails once more in every process it meets."""
LONGEST = 60.0
"""Seconds after which a daemon that was told to stop counts as one that never does."""
LONGEST_IN_TROUBLE = 10.0
"""Seconds that a stop may take while RabbitMQ is away or unwell."""
SEND_SECONDS = 0.3
OVERHEAD = 2.0
"""Seconds that a stop may take longer than the send that is under way."""
STARTS = "whatsapp-worker 0"
"""The log's first line, from whose moment on it knows of signals."""


@scenario(
    "SIGTERM in mid-send, 50 times: it ends with 0 and that message is not sent twice",
    seconds=95,
    quick=15,
)
async def sigterm_in_mid_send(arena: Arena) -> None:
    stops, finished, longest = arena.times(50), 0, 0.0
    arena.rules.set(latency=SEND_SECONDS)
    for _ in range(stops):
        async with arena.worker() as daemon:
            await arena.publisher.publish([arena.planner.good(), arena.planner.keyless()])
            await mid_send(arena)
            before = len(daemon.outbox_entries())
            longest = max(longest, await _stop(daemon))
            finished += len(daemon.outbox_entries()) - before
    found = await _start_again_and_finish(arena)
    arena.measured("stops", stops)
    arena.measured("sends finished after the signal", finished)
    arena.measured("longest stop", longest, "s", at_most=SEND_SECONDS + OVERHEAD)
    arena.measured("sent twice", found.surplus.total(), at_most=0)
    arena.measured("jobs in doubt", len(ledger(arena.directory).doubtful), at_most=0)


@scenario(
    "SIGTERM while there is nothing to do, 5 times: it ends within a second",
    seconds=12,
    quick=5,
    alone=True,
)
async def idle_stop(arena: Arena) -> None:
    stops, longest = arena.times(5), 0.0
    async with connect(arena.url) as client:
        for number in range(stops):
            async with arena.worker() as daemon:
                await arena.publisher.publish([arena.planner.good()])
                await sent(daemon, number + 1)
                await arena.nothing_waits(client)
                longest = max(longest, await _stop(daemon))
    await _start_again_and_finish(arena)
    arena.measured("stops", stops)
    arena.measured("longest stop", longest, "s", at_most=1)


# RabbitMQ away or unwell --------------------------------------------------------------------------


@scenario(
    "SIGTERM while RabbitMQ is away (nothing listens, resets, accepts and is silent, a black "
    "hole), with a send under way that works or fails",
    seconds=50,
    quick=20,
)
async def stop_in_outage(arena: Arena) -> None:
    longest = 0.0
    arena.settings |= ENOUGH_ATTEMPTS
    for way in _some_of(arena, [Way.SHUT, Way.SLAM, Way.SILENT, Way.HOLE]):
        for fails in (0, 1):
            async with arena.worker() as daemon:
                await _in_mid_send_of(arena, fails)
                await arena.door.set(way)
                if way is not Way.HOLE:  # Which nobody notices so soon.
                    await eventually(partial(daemon.status, "/readyz", 503), "not ready")
                longest = max(longest, await _stop(daemon))
                arena.note(f"{way.name}: stopped, the longest took {longest:.1f} s")
            await arena.door.set(Way.OPEN)
    await _start_again_and_finish(arena)
    arena.measured("longest stop", longest, "s", at_most=LONGEST_IN_TROUBLE)


async def _in_mid_send_of(arena: Arena, fails: int) -> None:
    """Return in mid-send of a message that fails so often, and behind which others wait."""
    planner = arena.planner
    slow = planner.failing(fails)
    planner.rules[list(planner.rules)[-1]]["latency"] = 1
    await arena.publish_all([slow, planner.good(), planner.keyless()])

    def under_way() -> bool:
        kept = ledger(arena.directory)
        return kept.jobs.get(slow.ledger_key(kept.secret), ("none",))[0] == "SENDING"

    await eventually(under_way, "the slow send has begun", 30)


@scenario(
    "SIGTERM during a memory alarm of RabbitMQ: while a retry copy waits for its confirm, while "
    "the work is paused for it, and before the worker was ready",
    seconds=45,
    quick=30,
    own_node=True,
)
async def stop_in_alarm(arena: Arena) -> None:
    longest = 0.0
    arena.settings |= ENOUGH_ATTEMPTS
    for situation in _some_of(arena, [_copy_waits, _paused_for_it]):
        async with arena.worker() as daemon:
            arena.rules.set(offline=True)
            await daemon.says("paused (whatsapp)")
            failing = [arena.planner.failing(1) for _ in range(5)]
            await arena.publish_all([*failing, arena.planner.invalid("a list")])
            async with _alarm(arena):
                arena.rules.set()
                await situation(arena, daemon)
                longest = max(longest, await _stop(daemon))
                async with arena.worker(ready=False) as another:
                    await another.live()
                    longest = max(longest, await _stop(another))
    await _start_again_and_finish(arena)
    arena.measured("longest stop", longest, "s", at_most=LONGEST_IN_TROUBLE)


async def _copy_waits(arena: Arena, _: Watched) -> None:
    await eventually(lambda: "FAILED" in _states(arena), "a copy is being published")


async def _paused_for_it(_: Arena, daemon: Watched) -> None:
    await daemon.says("paused (publisher)")


@asynccontextmanager
async def _alarm(arena: Arena) -> AsyncIterator[None]:
    """RabbitMQ believes that it runs out of memory."""

    async def limit(*value: str) -> None:
        await asyncio.to_thread(arena.node.ctl, "set_vm_memory_high_watermark", *value)
        arena.note(f"memory limit {' '.join(value)}")

    await limit("0.00001")
    try:
        yield
    finally:
        await limit("absolute", "512MiB")


@scenario(
    "SIGTERM while it tries to connect: nothing listens, resets, accepts and is silent, or the "
    "connection never comes about",
    seconds=15,
    quick=12,
    kinds=(Kind.QUORUM,),  # It never sees its queue.
)
async def stop_while_connecting(arena: Arena) -> None:
    longest = 0.0
    async with arena.worker():
        await arena.publisher.publish([arena.planner.good()])
    for way in _some_of(arena, [Way.SHUT, Way.SLAM, Way.SILENT]):
        await arena.door.set(way)
        came = arena.door.came
        async with arena.worker(ready=False) as daemon:
            await daemon.live()
            if way is not Way.SHUT:
                await eventually(partial(_came, arena, came + 2), "both connections are being made")
            longest = max(longest, await _stop_at_any_moment(arena, daemon))
    await arena.door.set(Way.OPEN)
    with _port_that_hangs() as port:
        nowhere = replace(arena.node.login, vhost=arena.vhost, port=port).url
        async with arena.worker(ready=False, RABBITMQ_URL=nowhere) as daemon:
            await daemon.live()
            longest = max(longest, await _stop_at_any_moment(arena, daemon))
    await _start_again_and_finish(arena)
    arena.measured("longest stop", longest, "s", at_most=LONGEST_IN_TROUBLE)


def _came(arena: Arena, count: int) -> bool:
    return arena.door.came >= count


async def _stop_at_any_moment(arena: Arena, daemon: Watched) -> float:
    await asyncio.sleep(arena.planner.random.uniform(0, 0.5))
    return await _stop(daemon)


@contextmanager
def _port_that_hangs() -> Iterator[int]:
    """A port where connecting takes for ever, as with a host that drops what it is sent."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # Nobody is ever let in, so they fill the waiting room.
            waits = opened.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(server.getsockname())
        yield server.getsockname()[1]


# Anything else it may be doing --------------------------------------------------------------------


@scenario(
    "SIGTERM while it starts, is paused, has given back what it held, publishes a retry copy into "
    "a black hole, can not write its ledger, and while invalid messages pour in",
    seconds=40,
    quick=15,
)
async def sigterm_in_every_state(arena: Arena) -> None:
    longest = 0.0
    arena.settings |= ENOUGH_ATTEMPTS
    async with arena.worker():
        pass  # The exchange leads to the queue.
    for _ in range(arena.times(8)):
        await _stop_while_starting(arena)
    states = [_held, _given_back, _copy_in_a_hole, _ledger_locked, _invalid_pour_in]
    for state in _some_of(arena, states):
        arena.rules.set()
        async with arena.worker(PAUSE_HOLD="300ms" if state is _given_back else "300s") as daemon:
            async with state(arena, daemon):
                longest = max(longest, await _stop(daemon))
            arena.note(f"{state.__name__}: stopped, the longest took {longest:.1f} s")
        await arena.door.set(Way.OPEN)
    found = await _start_again_and_finish(arena)
    arena.measured("longest stop", longest, "s", at_most=LONGEST_IN_TROUBLE)
    arena.measured("sent twice", found.surplus.total(), at_most=0)
    arena.measured("dead letters twice", found.letters_twice.total(), at_most=0)


async def _stop_while_starting(arena: Arena) -> None:
    """At any moment; before it has begun, the signal ends it as it ends any process."""
    await arena.publisher.publish([arena.planner.good(), arena.planner.keyless()])
    async with arena.worker(ready=False) as daemon:
        if arena.planner.random.random() < 0.5:
            await daemon.says(STARTS, START_SECONDS)
        await asyncio.sleep(arena.planner.random.uniform(0, 0.5))
        begun = STARTS in daemon.printed
        daemon.signal(SIGTERM)
        code = await daemon.exit_code(LONGEST)
        assert code == 0 or (code == -SIGTERM and not begun), f"exit code {code}"


@asynccontextmanager
async def _held(arena: Arena, daemon: Watched) -> AsyncIterator[None]:
    arena.rules.set(offline=True)
    await paused(daemon, 1)
    await arena.publisher.publish([arena.planner.good(), arena.planner.keyless()])
    yield
    arena.rules.set()


@asynccontextmanager
async def _given_back(arena: Arena, daemon: Watched) -> AsyncIterator[None]:
    async with _held(arena, daemon):
        await long_pause(daemon, 1)
        yield


@asynccontextmanager
async def _copy_in_a_hole(arena: Arena, daemon: Watched) -> AsyncIterator[None]:
    await _in_mid_send_of(arena, fails=1)
    await arena.door.set(Way.HOLE_TO_BROKER)
    await eventually(lambda: "FAILED" in _states(arena), "a copy is being published")
    yield


@asynccontextmanager
async def _ledger_locked(arena: Arena, daemon: Watched) -> AsyncIterator[None]:
    async with connect(arena.url) as client:
        await arena.nothing_waits(
            client
        )  # What was sent would wait for its row, for DRAIN_TIMEOUT.
    with locked_ledger(arena.directory):
        await arena.publisher.publish([arena.planner.good(), arena.planner.keyless()])
        await daemon.says("paused (ledger)")
        yield


@asynccontextmanager
async def _invalid_pour_in(arena: Arena, _: Watched) -> AsyncIterator[None]:
    async with connect(arena.url) as client:
        before = await client.count(DEAD_LETTERS) or 0

        async def some_are_dead() -> bool:
            return (await client.count(DEAD_LETTERS) or 0) > before + 50

        pouring = [arena.planner.invalid("no destination") for _ in range(500)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(arena.publisher.publish(pouring, window=20))
            await eventually(some_are_dead, "some are dead letters")
            yield


def _states(arena: Arena) -> set[str]:
    return {state for state, _, _ in ledger(arena.directory).jobs.values()}


def _some_of(arena: Arena, given: list[T]) -> list[T]:
    """All of them in random order; as many as the scale asks for."""
    return arena.planner.random.sample(given, arena.times(len(given)))


# Stopping -----------------------------------------------------------------------------------------


async def _stop(daemon: Watched) -> float:
    """SIGTERM it; returns the seconds that it took to end with 0."""
    begun = monotonic()
    daemon.signal(SIGTERM)
    code = await daemon.exit_code(LONGEST)
    seconds = monotonic() - begun
    assert code == 0, f"exit code {code}"
    return seconds


async def _start_again_and_finish(arena: Arena) -> Reckoning:
    """Nothing is wrong any more: a daemon has to bring everything to its end."""
    arena.rules.set()
    async with arena.worker() as daemon:
        return await arena.finish(daemon)
