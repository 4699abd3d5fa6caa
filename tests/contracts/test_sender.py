"""What the pipeline may rely on, of WhatsApp through neonize and of the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes_whatsapp import envelope, running, until
from whatsapp_worker.errors import (
    ErrorType,
    JobError,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)
from whatsapp_worker.ports import Sender
from whatsapp_worker.sandbox import Sandbox
from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import NativeError

FAILURES = {
    "refuse": (NativeError("no LID found for 1@s.whatsapp.net from server"), Refused),
    "throttle": (NativeError("server returned error 429"), Throttled),
    "fail": (NativeError("server returned error 503"), Transient),
}
"""How the sandbox is told to fail, what the library says then, and what both have to raise."""


@dataclass(frozen=True)
class Bench:
    """A sender under test.

    Attributes:
        sender: it, online.
        fail: makes its next send fail in one of the ways of FAILURES.
        offline: takes the account offline.
        reports: what it said of itself: why work has to pause, None when it need not.
    """

    sender: Sender
    fail: Callable[[str], None]
    offline: Callable[[], None]
    reports: list[str | None]


@asynccontextmanager
async def sandbox(directory: Path) -> AsyncIterator[Bench]:
    reports: list[str | None] = []
    rules = directory / "rules.json"

    def tell(**everyone: object) -> None:
        rules.write_text(json.dumps({"*": everyone}))

    def report(_: PauseReason, why: str | None) -> None:
        reports.append(why)

    tell()
    sandbox = Sandbox(f"@{rules}", directory / "outbox", report, 5.0, lambda: None)
    run = asyncio.create_task(sandbox.run())
    await until(lambda: sandbox.online)

    def fail(how: str) -> None:
        tell(**{how: True})
        sandbox._look()

    yield Bench(sandbox, fail, lambda: tell(offline=True), reports)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


@asynccontextmanager
async def neonize(directory: Path) -> AsyncIterator[Bench]:
    async with running(directory) as world:
        client = await world.online()

        def fail(how: str) -> None:
            client.refusal = FAILURES[how][0]

        yield Bench(world.whatsapp, fail, lambda: world.client.say(events.Offline()), world.reports)


Make = Callable[[Path], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=[sandbox, neonize])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    make: Make = request.param
    async with make(tmp_path) as bench:
        yield bench


async def test_gives_every_message_an_id_of_its_own(bench: Bench) -> None:
    ids = [await bench.sender.send(envelope(f"text {number}")) for number in range(3)]
    assert len(set(ids)) == 3
    assert all(ids)


@pytest.mark.parametrize("how", FAILURES)
async def test_raises_our_own_failures_and_keeps_the_recipient_out_of_them(
    bench: Bench, how: str
) -> None:
    bench.fail(how)
    with pytest.raises(JobError) as caught:
        await bench.sender.send(envelope("a secret", "+15551110001"))
    assert type(caught.value) is FAILURES[how][1]
    assert isinstance(caught.value.error_type, ErrorType)
    assert not any(part in str(caught.value) for part in ("15551110001", "a secret"))


async def test_is_unavailable_while_offline_and_says_so(bench: Bench) -> None:
    bench.offline()
    await until(lambda: bench.reports and bench.reports[-1] is not None)
    with pytest.raises(Unavailable) as caught:
        await bench.sender.send(envelope())
    assert caught.value.reason is PauseReason.WHATSAPP


async def test_reports_that_work_may_go_on_once_it_is_online(bench: Bench) -> None:
    assert bench.reports[-1] is None
