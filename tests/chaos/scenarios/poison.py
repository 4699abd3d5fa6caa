"""Messages no client library would write, among good ones: they are put aside, and delay nobody."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random

from aiormq.abc import AbstractChannel

from tests.chaos.arena import Arena, now
from tests.chaos.scenario import scenario
from tests.integration.campaign import confirming, dead_letters, publish_one
from tests.integration.messages import INVALID, Planned
from tests.integration.test_hostile_messages import HARMLESS, SIXTEEN_MEGABYTES
from tests.support.amqp import connection_to
from tests.support.daemon import RunningDaemon
from tests.support.poison import POISONS

GOOD_FOR_EACH_BAD = 20
RATE = 30.0
"""Good messages a second: far fewer than the worker can send, so that only the bad delay them."""


@scenario(
    "AMQP properties that can not be read, or that are strange, among good messages",
    seconds=25,
    quick=9,
    alone=True,
)
async def poison_properties(arena: Arena) -> None:
    def bad() -> list[Planned]:
        planner = arena.planner
        poison = [
            replace(
                planner.keyless(),
                kind=f"poison {each.name}",
                text="",
                reason="bad_properties",
                raw=each.raw,
            )
            for each in POISONS
        ]
        odd = [
            replace(planner.keyless(), kind=f"odd {name}", raw=raw)
            for name, raw in HARMLESS.items()
        ]
        return poison + odd

    await _among_good_ones(arena, bad())


@scenario(
    "bodies of every hostile kind, up to 16 MB, among good messages",
    seconds=38,
    quick=10,
    alone=True,
)
async def poison_bodies(arena: Arena) -> None:
    def bad() -> list[Planned]:
        bodies = _bodies(arena.planner.random).items()
        return [
            *(arena.planner.invalid(kind) for kind in INVALID),
            *(_hostile(body, reason, arena.planner.random) for body, reason in bodies),
        ]

    await _among_good_ones(arena, bad())


def _bodies(random: Random) -> dict[bytes, str]:
    """Bodies that only a machine thinks of, and the reason that has to be given for each."""
    name = b"%016x" % random.getrandbits(64)
    return {
        b"": "malformed",
        b"\0" * random.randint(1, 9): "malformed",
        b"\xef\xbb\xbf": "malformed",
        random.randbytes(2000): "malformed",
        b"[" * 60_000 + name: "malformed",
        b'{"a":' * 12_000 + name: "malformed",
        b"1" + b"0" * 5000 + name: "malformed",
        b'{"text_message": -Infinity, "x": "%b"}' % name: "malformed",
        b'{"a": 1, "a": 1, "x": "%b"}' % name: "malformed",
        json.dumps({"x": name.decode()}).encode("utf-16"): "malformed",
        json.dumps({"x": name.decode()}).encode("utf-32"): "malformed",
        b"null": "invalid_schema",
        b'"%b"' % name: "invalid_schema",
        b'["%b"]' % name: "invalid_schema",
        b'{"x": "%b"}' % name: "invalid_schema",
        b'{"__proto__": {}, "user_id": {"a": [1e400]}, "x": "%b"}' % name: "invalid_schema",
        json.dumps({"\ud800": "\udfff", "x": name.decode()}).encode(): "invalid_schema",
        b"[" * 1_000_000 + name: "too_large",
        random.randbytes(1_000_000): "too_large",
        random.randbytes(SIXTEEN_MEGABYTES): "too_large",
        b'{"x": "%b"%b}' % (name, b" " * SIXTEEN_MEGABYTES): "too_large",
        b"[" * SIXTEEN_MEGABYTES + name: "too_large",
    }


def _hostile(body: bytes, reason: str, random: Random) -> Planned:
    message_id = f"h-{random.getrandbits(64):016x}"
    return Planned(
        f"{len(body)} hostile bytes", message_id, body, reason=reason, message_id=message_id
    )


@dataclass(slots=True)
class _Flow:
    """Publishes at a steady rate.

    Attributes:
        arena: keeps the record of what was confirmed.
        confirmed_at: by text, Unix seconds.
    """

    arena: Arena
    confirmed_at: dict[str, float] = field(default_factory=dict)

    async def pour(self, planned: Iterable[Planned], rate: float) -> None:
        """Publish so many a second, on a connection of its own."""
        clock = asyncio.get_running_loop().time
        async with connection_to(self.arena.url) as connection, asyncio.TaskGroup() as tasks:
            channel = await confirming(connection)
            due = clock()
            for each in planned:
                tasks.create_task(self._publish(channel, each))
                due = max(due + 1 / rate, clock())
                await asyncio.sleep(due - clock())

    async def _publish(self, channel: AbstractChannel, planned: Planned) -> None:
        sure = await publish_one(channel, planned)
        self.confirmed_at[planned.text] = now()
        publisher = self.arena.publisher
        (publisher.confirmed if sure else publisher.unknown).append(planned)

    def delays(self, daemon: RunningDaemon, good: list[Planned]) -> list[float]:
        """Seconds from the confirm of each good message to its sending."""
        sent = {
            entry["text"]: datetime.fromisoformat(entry["at"]).timestamp()
            for entry in daemon.outbox_entries()
        }
        return [sent[each.text] - self.confirmed_at[each.text] for each in good]


async def _among_good_ones(arena: Arena, every: list[Planned]) -> None:
    """Let these come in random order among twenty times as many good ones, and measure."""
    bad = arena.planner.random.sample(every, arena.times(len(every)))
    good = [arena.planner.good() for _ in range(GOOD_FOR_EACH_BAD * len(bad))]
    flow = _Flow(arena)
    async with arena.worker() as daemon:
        connections = arena.door.came
        async with asyncio.TaskGroup() as tasks:  # Two publishers: the large do not hold up these.
            tasks.create_task(flow.pour(good, RATE))
            tasks.create_task(flow.pour(bad, RATE / GOOD_FOR_EACH_BAD))
        connections = arena.door.came - connections
        await arena.finish(daemon)
    letters = await dead_letters(arena.url, arena.printed)
    silent = [each for each in letters if not (each.error_type and each.error_detail)]
    arena.measured("hostile messages", len(bad))
    arena.measured(
        "longest way of a good message", max(flow.delays(daemon, good)), "s", at_most=1.0
    )
    arena.measured("connections lost", connections, at_most=0)
    arena.measured("dead letters without a reason", len(silent), at_most=0)
