"""Messages no client library would write: each is settled with a reason, and none is in the way."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.integration.campaign import (
    KINDS,
    confirming,
    dead_letters,
    prepare,
    publish_one,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.messages import INVALID, Planned, Planner
from tests.support.amqp import DEAD_LETTERS, connect, connection_to
from tests.support.eventually import eventually
from tests.support.poison import ODD_BUT_READABLE, POISONS, RawProperties, flagged, short, table

SIXTEEN_MEGABYTES = 16 * 1024 * 1024
SOONER_THAN_ANY_TIMEOUT = 5.0
"""Seconds.  Nothing in the worker waits for less than that before it gives something up."""
CONNECTS = "the connection to RabbitMQ works"


def _string(name: bytes, value: bytes) -> bytes:
    return short(name) + b"S" + len(value).to_bytes(4, "big") + value


def _headers(*entries: bytes) -> bytes:
    return flagged(("headers", table(b"".join(entries))))


FOREIGN_KEY = b"ab" * 32
DEATH = (
    _string(b"queue", b"whatsapp.queue")
    + _string(b"reason", b"expired")
    + _string(b"exchange", b"")
    + short(b"count")
    + b"l"
    + (2**62).to_bytes(8, "big")
)
FORGED_DEATH = short(b"x-death") + b"A" + (5 + len(DEATH)).to_bytes(4, "big") + b"F" + table(DEATH)
DEATH_AS_TEXT = _string(b"x-death", b"yesterday")
HARMLESS: dict[str, bytes] = {
    **{
        poison.name: poison.raw
        for poison in ODD_BUT_READABLE
        if not poison.name.startswith("delivery mode")  # RabbitMQ itself refuses those.
    },
    "foreign attempt": _headers(short(b"x-attempt") + b"I\x00\x00\x00\x04"),
    "foreign attempt of the largest kind": _headers(short(b"x-attempt") + b"l\x7f" + b"\xff" * 7),
    "foreign job key": _headers(_string(b"x-job-key", FOREIGN_KEY)),
    "foreign replay": _headers(_string(b"x-failed-at", b"2026-01-01T00:00:00Z")),
    "foreign error type": _headers(_string(b"x-error-type", b"refused")),
    "forged death": _headers(FORGED_DEATH),
    "death that is no list": _headers(DEATH_AS_TEXT),
    "death that is an empty list": _headers(short(b"x-death") + b"A" + bytes(4)),
    "trace parent of zeros": _headers(
        _string(b"traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00")
    ),
    "trace parent with line breaks": _headers(_string(b"traceparent", b"00-\n\x1b[2J")),
}
"""Properties that are strange, and harm nobody: the message has to be sent."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """A body, and properties as bytes."""

    body: bytes
    raw: bytes

    def properties(self) -> RawProperties:
        return RawProperties(self.raw)


@KINDS
async def test_hostile_properties_end_in_the_dead_letter_queue_or_do_no_harm(
    kind: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    await prepare(amqp_url, kind)
    async with worker(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        poisons = {poison.name: poison for poison in POISONS}
        cases = [*((name, each.raw) for name, each in poisons.items()), *HARMLESS.items()]
        planner.random.shuffle(cases)
        bodies: dict[bytes, str] = {}
        texts: list[str] = []
        for name, properties in cases:
            case, good = planner.keyless(), planner.good()
            await _publish(amqp_url, _Raw(case.body, properties), good)
            bodies[case.body] = name
            print(name)  # noqa: T201  For a failure: the case that is in the way.
            texts += [case.text, good.text] if name in HARMLESS else [good.text]
            await sent(daemon, len(texts), within=SOONER_THAN_ANY_TIMEOUT)
        assert texts_of(daemon) == texts
        await _all_lie(amqp_url, len(POISONS))
        assert daemon.printed.count(CONNECTS) == 1
        assert await daemon.stop() == 0
    letters = {bodies[each.body]: each for each in await dead_letters(amqp_url, daemon_output)}
    assert {name: letter.error_type for name, letter in letters.items()} == dict.fromkeys(
        poisons, "bad_properties"
    )
    for name, letter in letters.items():
        for broken in poisons[name].broken:
            assert broken in (letter.error_detail or "")


@KINDS
async def test_hostile_bodies_end_in_the_dead_letter_queue_and_hold_up_nobody(
    kind: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    random = planner.random
    hostile = [planner.invalid(name) for name in INVALID]
    hostile += [_body(body, reason) for body, reason in _bodies(random).items()]
    random.shuffle(hostile)
    await prepare(amqp_url, kind)
    async with worker(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        texts = []
        for number, each in enumerate(hostile):
            good = planner.good()
            await _publish(amqp_url, each, good)
            texts.append(good.text)
            await sent(daemon, number + 1, within=SOONER_THAN_ANY_TIMEOUT)
        assert texts_of(daemon) == texts
        await _all_lie(amqp_url, len(hostile))
        assert daemon.printed.count(CONNECTS) == 1
        assert await daemon.stop() == 0
    letters = await dead_letters(amqp_url, daemon_output)
    assert {each.body: each.error_type for each in letters} == {
        each.body: each.reason for each in hostile
    }
    assert all(each.error_detail for each in letters)


def _bodies(random: Random) -> dict[bytes, str]:
    """Bodies, and the reason that has to be given for each."""
    deep = b"[" * 32_000
    return {
        b"": "malformed",
        b"\0": "malformed",
        b"\xef\xbb\xbf": "malformed",
        random.randbytes(2000): "malformed",
        deep: "malformed",
        b'{"a":' * 10_000: "malformed",
        b"1" + b"0" * 5000: "malformed",
        b'{"text_message": -Infinity}': "malformed",
        b"null": "invalid_schema",
        b'"text"': "invalid_schema",
        b"[]": "invalid_schema",
        b"{}": "invalid_schema",
        b'{"__proto__": {}, "user_id": {"a": [1e400]}}': "invalid_schema",
        json.dumps({"\ud800": "\udfff"}).encode(): "invalid_schema",
        random.randbytes(SIXTEEN_MEGABYTES): "too_large",
        b"{" + b" " * SIXTEEN_MEGABYTES + b"}": "too_large",
    }


def _body(body: bytes, reason: str) -> Planned:
    return Planned(
        reason, f"{reason} {body[:9]!r}", body, reason=reason, message_id=f"h-{len(body)}"
    )


@KINDS
@pytest.mark.parametrize(
    "forged", [FORGED_DEATH, DEATH_AS_TEXT], ids=["well made", "not even a list"]
)
async def test_a_forged_death_does_not_keep_an_invalid_message_from_its_grave(
    forged: bytes, kind: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    """RabbitMQ reads `x-death` itself when it dead-letters what we reject."""
    planner = Planner(seeded())
    await prepare(amqp_url, kind)
    first, second = planner.invalid("half a JSON object"), planner.invalid("half a JSON object")
    good = planner.good()
    async with worker(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.ready()
        await _publish(amqp_url, _Raw(first.body, _headers(forged)), second, good)
        await sent(daemon, 1, within=SOONER_THAN_ANY_TIMEOUT)
        await _all_lie(amqp_url, 2)
        assert daemon.printed.count(CONNECTS) == 1
    letters = await dead_letters(amqp_url, daemon_output)
    assert {each.body: each.error_type for each in letters} == {
        first.body: "malformed",
        second.body: "malformed",
    }


@KINDS
async def test_headers_of_ours_are_not_believed_from_strangers(
    kind: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    """A publisher can not make a job look tried, dead, or like another job."""
    planner = Planner(seeded())
    await prepare(amqp_url, kind)
    refused = planner.refused()
    settings = {
        "SANDBOX_RULES": json.dumps(planner.rules),
        "MAX_ATTEMPTS": "3",
    }
    async with worker(amqp_url, tmp_path, daemon_output, **settings) as daemon:
        await daemon.ready()
        await _publish(amqp_url, refused)
        await _all_lie(amqp_url, 1)
        async with connect(amqp_url) as client:
            ((letter),) = await client.drain(DEAD_LETTERS)
            stolen = dict(letter.headers)
            victim = planner.good()
            # Through the exchange, where strangers publish.
            await client.publish(victim.body, message_id="m-1", headers=stolen)
            await client.publish(victim.body, message_id="m-2", headers={**stolen, "x-attempt": 3})
            await sent(daemon, 2)
        assert await daemon.stop() == 0
        assert texts_of(daemon) == [victim.text] * 2
        logged = [json.loads(line) for line in daemon.printed.splitlines() if '"job sent"' in line]
        assert [line["attempt"] for line in logged] == [0, 0]
        assert str(stolen["x-job-key"])[:32] not in {line["job_key"] for line in logged}


async def _publish(amqp_url: str, *planned: Planned | _Raw) -> None:
    async with connection_to(amqp_url) as connection:
        channel = await confirming(connection)
        for each in planned:
            assert await publish_one(channel, each)


async def _all_lie(amqp_url: str, count: int) -> None:
    async with connect(amqp_url) as client:

        async def so() -> bool:
            assert await client.count(DEAD_LETTERS) == count
            return True

        await eventually(so, "all dead letters")
