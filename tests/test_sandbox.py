"""The sandbox does what its rules say, and keeps what it sent."""

import asyncio
import json
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.eventually import eventually
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    Misconfigured,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)
from whatsapp_worker.sandbox import Sandbox

NUMBER = "+5511999990001"
OTHER = "+5511999990002"


class Stand:
    """A sandbox, with what it reported and whether it was stuck."""

    def __init__(
        self, rules: object = None, outbox: Path | None = None, timeout: float = 5
    ) -> None:
        self.reports: list[tuple[PauseReason, str | None]] = []
        self.stuck = 0
        text = rules if isinstance(rules, str) or rules is None else json.dumps(rules)
        self.sandbox = Sandbox(text, outbox, self.report, timeout, self.on_stuck)

    def report(self, reason: PauseReason, detail: str | None) -> None:
        self.reports.append((reason, detail))

    def on_stuck(self) -> None:
        self.stuck += 1

    async def __aenter__(self) -> "Stand":
        self.running = asyncio.create_task(self.sandbox.run())
        await eventually(lambda: bool(self.reports) or self.running.done())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def send(self, destination: str = NUMBER) -> str:
        return await self.sandbox.send(
            WhatsAppEnvelope.model_validate(
                {
                    "user_id": str(UUID(int=1)),
                    "text_message": "olá",
                    "destination": destination,
                }
            )
        )


async def test_sends_by_default_and_keeps_what_it_sent(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    async with Stand(outbox=outbox) as stand:
        whatsapp_id = await stand.send()
        assert stand.sandbox.state == "online"
    (line,) = outbox.read_text().splitlines()
    kept = json.loads(line)
    assert (kept["id"], kept["destination"], kept["text"]) == (whatsapp_id, NUMBER, "olá")
    assert outbox.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("rule", "error", "error_type"),
    [
        ({"refuse": True}, Refused, ErrorType.NOT_ON_WHATSAPP),
        ({"throttle": True}, Throttled, ErrorType.THROTTLED),
        ({"fail": 1}, Transient, ErrorType.SERVER_ERROR),
        ({"doubt": 1}, InDoubt, ErrorType.UNKNOWN_OUTCOME),
    ],
)
async def test_fails_as_told_for_one_destination(
    rule: dict[str, object], error: type[Transient], error_type: ErrorType
) -> None:
    async with Stand({NUMBER: rule}) as stand:
        with pytest.raises(error) as caught:
            await stand.send()
        assert caught.value.error_type is error_type
        assert await stand.send(OTHER)


async def test_works_after_it_has_failed_as_often_as_told(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    async with Stand({NUMBER: {"fail": 2, "doubt": 1}}, outbox) as stand:
        for error in (Transient, Transient, InDoubt):
            with pytest.raises(error):
                await stand.send()
        assert await stand.send()
    assert len(outbox.read_text().splitlines()) == 2  # One in doubt has left all the same.


async def test_a_hanging_send_is_noticed(tmp_path: Path) -> None:
    async with Stand({"*": {"hang": True}}, tmp_path / "outbox", timeout=0.01) as stand:
        with pytest.raises(InDoubt):
            await stand.send()
    assert stand.stuck == 1
    assert not (tmp_path / "outbox").exists()


async def test_a_blocking_send_stops_the_loop_and_then_goes_on() -> None:
    async with Stand({NUMBER: {"block": 0.2}}, timeout=0.1) as stand:
        began = time.monotonic()
        turns: list[float] = []
        asyncio.get_running_loop().call_soon(lambda: turns.append(time.monotonic() - began))
        assert await stand.send()
        await asyncio.sleep(0)
        assert turns[0] >= 0.2
    assert stand.stuck == 0  # SEND_TIMEOUT can not be noticed by a loop that is blocked.


async def test_pauses_while_offline_and_follows_its_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text('{"*": {"offline": true}}')
    async with Stand(f"@{rules}") as stand:
        assert stand.reports[-1][1] == "the sandbox is offline, as told"
        assert stand.sandbox.state == "reconnecting"
        with pytest.raises(Unavailable):
            await stand.send()
        rules.write_text("{half")  # A script is still writing it.
        rules.write_text("{}")
        await eventually(lambda: stand.sandbox.online)
        assert stand.reports[-1] == (PauseReason.WHATSAPP, None)
        assert await stand.send()


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not an object of destination to rule"),
        ({NUMBER: {"explode": True}}, "explode"),
        ({NUMBER: {"fail": -1}}, "fail"),
        ("@/nowhere/rules.json", "No such file"),
    ],
)
async def test_says_what_is_wrong_with_its_rules(rules: object, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        await Stand(rules).sandbox.run()


async def test_destinations_without_a_rule_leave_nothing_behind() -> None:
    """A staging system may run for months."""
    async with Stand({NUMBER: {"fail": 1}}) as stand:
        for number in range(10, 19):
            await stand.send(f"+551199999{number:04d}")
        assert not stand.sandbox._tries


async def test_counts_are_forgotten_with_the_rule_that_asked_for_them(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({NUMBER: {"fail": 1}, OTHER: {"fail": 1}}))
    async with Stand(f"@{rules}") as stand:
        for number in (NUMBER, OTHER):
            with pytest.raises(Transient):
                await stand.send(number)
        rules.write_text(json.dumps({OTHER: {"fail": 1}}))
        await eventually(lambda: set(stand.sandbox._tries) == {OTHER}, "one is forgotten")
        await stand.send(OTHER)


async def test_rules_that_are_alike_are_kept_once() -> None:
    async with Stand(
        {f"+1555{number:07d}": {"fail": number % 2} for number in range(100)}
    ) as stand:
        assert len({id(rule) for rule in stand.sandbox._rules.values()}) == 2
