"""The dead-letter queue is missing, full, or cut off while 1,000 invalid jobs come."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.arena import Arena
from tests.chaos.scenario import Kind, scenario
from tests.integration.messages import INVALID, Planned
from tests.support.amqp import DEAD_LETTERS, Client, connect
from tests.support.daemon import RunningDaemon

PAUSED = "paused (dead_letters)"
DEAD_EXCHANGE = "woragis.dlx"
WAITS_SECONDS = 6.0
"""Longer than the daemon's probe of its queues takes to come round."""
MOST_LINES = 10
"""In the log while nothing but waiting goes on."""
ROOM = 20
"""Dead letters that fit into the queue that is full."""
FEWEST_INVALID = 300
"""More than the worker leaves to RabbitMQ before it asks for proof that they arrive."""


@scenario(
    "the dead-letter queue is deleted, and RabbitMQ does not let the worker make it again",
    seconds=50,
    quick=25,
    own_node=True,
)
async def dead_letters_missing(arena: Arena) -> None:
    await arena.dead_lettering_tries_again(after=3)
    async with arena.worker() as daemon:
        async with _forbidden(arena, configure=DEAD_LETTERS) as operator:
            async with operator.channel() as channel:
                await channel.queue_delete(DEAD_LETTERS)
            await arena.publish_all(_jobs(arena))
            await _waits(arena, daemon, PAUSED, "ACCESS_REFUSED")
        await _goes_on(arena, daemon)


@scenario(
    "an operator limits the dead-letter queue (max-length, reject-publish), and it is full",
    seconds=60,
    quick=45,
    own_node=True,
)
async def dead_letters_full(arena: Arena) -> None:
    await arena.dead_lettering_tries_again(after=3)
    async with arena.worker() as daemon:
        await _limit(arena, ROOM)
        await arena.publish_all(_jobs(arena))
        await _waits(arena, daemon, PAUSED, "full")
        if arena.kind is Kind.QUORUM:
            await _limit(arena, 10**6)  # RabbitMQ does not tell its own senders of a limit removed.
        else:
            await _ctl(arena, "clear_policy", "full")
        await _goes_on(arena, daemon)


@scenario(
    "the binding of the dead-letter queue is removed, and RabbitMQ does not let the worker mend it",
    seconds=35,
    quick=25,
    kinds=(Kind.QUORUM,),
    own_node=True,
)
async def dead_letters_unroutable(arena: Arena) -> None:
    await arena.dead_lettering_tries_again(after=3)
    async with arena.worker() as daemon:
        async with _forbidden(arena, read=DEAD_EXCHANGE) as operator:
            async with operator.channel() as channel:
                queue = await channel.get_queue(DEAD_LETTERS, ensure=False)
                await queue.unbind(DEAD_EXCHANGE, DEAD_LETTERS)
            await arena.publish_all(_jobs(arena))
            await _waits(arena, daemon, "access to exchange 'woragis.dlx'", "refused")
        await _goes_on(arena, daemon)


async def _limit(arena: Arena, messages: int) -> None:
    queue = f"^{re.escape(DEAD_LETTERS)}$"
    definition = f'{{"max-length": {messages}, "overflow": "reject-publish"}}'
    await _ctl(arena, "set_policy", "full", queue, definition, "--apply-to", "queues")


def _jobs(arena: Arena) -> list[Planned]:
    planner = arena.planner
    kinds = list(INVALID)
    many = max(FEWEST_INVALID, arena.times(1000))
    jobs = [planner.invalid(planner.random.choice(kinds)) for _ in range(many)]
    jobs += [planner.good() for _ in range(arena.times(200))]
    planner.random.shuffle(jobs)
    return jobs


async def _ctl(arena: Arena, command: str, *arguments: str) -> None:
    await asyncio.to_thread(arena.node.ctl, command, "-p", arena.vhost, *arguments)


@asynccontextmanager
async def _forbidden(arena: Arena, configure: str = "", read: str = "") -> AsyncIterator[Client]:
    """Take away the right to make a queue, or to bind to an exchange, for as long as this lasts.

    Yields a client that may do everything.
    """
    operator = await arena.other_user("operator")
    everything_but = [f"^(?!{re.escape(name)}$).*" if name else ".*" for name in (configure, read)]
    user = arena.node.login.user
    await _ctl(arena, "set_permissions", user, everything_but[0], ".*", everything_but[1])
    arena.note(f"forbidden: {everything_but}")
    async with connect(operator) as client:
        yield client
    await _ctl(arena, "set_permissions", user, ".*", ".*", ".*")
    arena.note("allowed again")


async def _waits(arena: Arena, daemon: RunningDaemon, *reason: str) -> None:
    """Return when the daemon has said why it waits, and has waited for a while without spinning."""
    for words in reason:
        await daemon.says(words, within=60)
    arena.note("the daemon waits")
    assert await daemon.status("/readyz", 503)
    came, lines = arena.door.came, daemon.printed.count("\n")
    await asyncio.sleep(WAITS_SECONDS)
    arena.measured("connections while it waits", arena.door.came - came, at_most=MOST_LINES)
    lines = daemon.printed.count("\n") - lines
    arena.measured("lines in the log while it waits", lines, at_most=MOST_LINES)


async def _goes_on(arena: Arena, daemon: RunningDaemon) -> None:
    """Nothing but the fault itself was mended: the daemon has to find out, and loses nothing."""
    arena.note("mended")
    await daemon.ready(90)
    arena.note("the daemon is ready again")
    found = await arena.finish(daemon)
    arena.measured("dead letters that lie there twice", found.letters_twice.total(), at_most=0)
