"""What probes are told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.test_logs_process import run
from whatsapp_worker.web.health import Health, Heartbeat, RabbitMQCheck, healthz, livez, readyz


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def fine() -> str | None:
    return None


def ok() -> str | None:
    return None


def broken() -> str | None:
    raise KeyError("secret")


WELL = Health(
    rabbitmq=fine,
    whatsapp=lambda: "online",
    event_loop=ok,
    tasks=ok,
    send=ok,
    consuming=ok,
    ledger=ok,
    topology=ok,
    draining=ok,
)


def with_check(health: Health, name: str, problem: str) -> Health:
    """The same, but for one check that says this."""
    changed: dict[str, Any] = {name: lambda: problem}
    return replace(health, **changed)


def answering(*answers: str | None) -> tuple[Callable[[], Awaitable[str | None]], list[str | None]]:
    """A check that gives these answers in turn, and those it has not given yet."""
    left = list(answers)

    async def check() -> str | None:
        answer = left.pop(0)
        await asyncio.sleep(0)
        return answer

    return check, left


def test_healthz_is_what_the_seed_says() -> None:
    assert healthz(None, "logged_out").body == {
        "status": "healthy",
        "checks": [{"name": "rabbitmq", "status": "ok", "message": "connected"}],
        "whatsapp": "logged_out",
    }
    answer = healthz("connection closed", "online")
    assert not answer.healthy
    assert answer.body == {
        "status": "unhealthy",
        "checks": [{"name": "rabbitmq", "status": "error", "message": "connection closed"}],
        "whatsapp": "online",
    }


@pytest.mark.parametrize("name", ["event_loop", "tasks", "send"])
def test_livez_fails_by_each_of_its_checks_and_says_why(name: str) -> None:
    assert livez(WELL).healthy
    answer = livez(with_check(WELL, name, "it is stuck"))
    assert not answer.healthy
    assert {"name": name, "status": "error", "message": "it is stuck"} in _checks(answer.body)
    assert len([check for check in _checks(answer.body) if check["status"] == "ok"]) == 2


@pytest.mark.parametrize("name", ["consuming", "ledger", "topology", "draining"])
def test_readyz_fails_by_each_of_its_checks_and_says_why(name: str) -> None:
    assert readyz(WELL).healthy
    answer = readyz(with_check(WELL, name, "not now"))
    assert not answer.healthy
    assert {"name": name, "status": "error", "message": "not now"} in _checks(answer.body)


def test_readyz_depends_on_whatsapp_only_where_it_is_told_to() -> None:
    assert "whatsapp" not in [check["name"] for check in _checks(readyz(WELL).body)]
    answer = readyz(replace(WELL, whatsapp_online=lambda: "not paired"))
    assert not answer.healthy
    assert _checks(answer.body)[-1] == {
        "name": "whatsapp",
        "status": "error",
        "message": "not paired",
    }


def test_livez_never_asks_rabbitmq_whatsapp_or_the_ledger() -> None:
    asked: list[str] = []

    async def rabbitmq() -> str | None:
        asked.append("rabbitmq")
        return "gone"

    def other() -> str:
        asked.append("other")
        return "gone"

    away = replace(
        WELL,
        rabbitmq=rabbitmq,
        whatsapp=other,
        consuming=other,
        ledger=other,
        topology=other,
        draining=other,
        whatsapp_online=other,
    )
    assert livez(away).healthy
    assert asked == []


def test_a_check_that_fails_is_an_answer_without_its_text() -> None:
    assert "secret" not in str(livez(replace(WELL, tasks=broken)).body)
    assert _checks(livez(replace(WELL, tasks=broken)).body)[1]["message"] == (
        "check failed: KeyError"
    )


async def test_asks_rabbitmq_again_only_after_five_seconds() -> None:
    clock = Clock()
    check, left = answering(None, "connection closed", None)
    rabbitmq = RabbitMQCheck(check, clock=clock)
    assert await rabbitmq.problem() is None
    clock.now += 4.9
    assert await rabbitmq.problem() is None
    clock.now += 0.1
    assert await rabbitmq.problem() == "connection closed"
    clock.now += 4.9
    assert await rabbitmq.problem() == "connection closed"
    assert len(left) == 1


async def test_asks_rabbitmq_once_for_many_probes_at_a_time() -> None:
    check, left = answering("connection closed", None)
    rabbitmq = RabbitMQCheck(check, clock=Clock())
    answers = await asyncio.gather(*(rabbitmq.problem() for _ in range(10)))
    assert set(answers) == {"connection closed"}
    assert left == [None]


async def test_says_so_when_rabbitmq_does_not_answer_in_time() -> None:
    async def never() -> str | None:
        await asyncio.Event().wait()
        return None

    assert await RabbitMQCheck(never, timeout=0.01).problem() == "check timeout"


async def test_says_so_when_asking_rabbitmq_fails() -> None:
    async def fails() -> str | None:
        raise ConnectionError("amqp://user:password@host")

    assert await RabbitMQCheck(fails).problem() == "check failed: ConnectionError"


async def test_a_cancelled_probe_leaves_the_check_usable() -> None:
    entered, answer = asyncio.Event(), asyncio.Event()

    async def check() -> str | None:
        entered.set()
        await answer.wait()
        return None

    rabbitmq = RabbitMQCheck(check)
    probe = asyncio.create_task(rabbitmq.problem())
    await entered.wait()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    answer.set()
    assert await rabbitmq.problem() is None


async def test_the_heartbeat_tells_for_how_long_the_loop_has_not_got_round() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock=clock, interval=0.001)
    clock.now += 15
    assert heartbeat.problem() is None
    clock.now += 5
    assert heartbeat.problem() == "no heartbeat for 20 s, the limit is 15 s"
    beating = asyncio.create_task(heartbeat.run())
    await eventually(lambda: heartbeat.problem() is None)
    clock.now += 100
    assert heartbeat.problem() is not None
    await eventually(lambda: heartbeat.problem() is None)
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating


def test_a_blocked_loop_shows_where_it_is_once_for_each_time() -> None:
    """Even when the GIL is held, as `PyDLL` does, and whatever `sys.stderr` is."""
    ended = run("""
        import asyncio, ctypes, io, sys
        from whatsapp_worker import logs
        from whatsapp_worker.web import Heartbeat

        def hold_the_gil():
            ctypes.PyDLL(None).usleep(800_000)

        async def main():
            beating = asyncio.create_task(Heartbeat(interval=0.01, limit=0.2).run())
            for _ in range(2):
                await asyncio.sleep(0.05)
                hold_the_gil()
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            hold_the_gil()

        logs.protect_stdout()
        sys.stderr = io.StringIO()
        asyncio.run(main())
    """)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.count(" in hold_the_gil\n") == 2
    assert "Timeout (0:00:00.200000)!" in ended.stderr
    assert " in run_forever\n" in ended.stderr


def _checks(body: dict[str, object]) -> list[dict[str, str]]:
    checks = body["checks"]
    assert isinstance(checks, list)
    return checks
