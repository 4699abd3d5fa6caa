import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from aiormq.abc import AbstractConnection

from whatsapp_worker.amqp import session, supervisor
from whatsapp_worker.amqp.session import Trouble
from whatsapp_worker.amqp.supervisor import Supervisor
from whatsapp_worker.settings import Settings


class Connection:
    """Stands for an aiormq connection."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self, _: object) -> None:
        self.closed = True


class Script:
    """What happens at each try, and how long the supervisor then waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tries: Trouble | float) -> None:
        self.tries = list(tries)
        self.waits: list[float] = []
        self.told: list[str | None] = []
        self.connections: list[Connection] = []
        self.now = 0.0
        monkeypatch.setattr(session, "dial", self.dial)
        monkeypatch.setattr(supervisor, "monotonic", lambda: self.now)
        monkeypatch.setattr("whatsapp_worker.amqp.supervisor.asyncio.sleep", self.sleep)
        monkeypatch.setattr(
            "whatsapp_worker.amqp.supervisor.random.uniform", lambda low, high: high
        )

    async def dial(self, *_: object) -> Any:
        if not self.tries:
            raise asyncio.CancelledError
        if isinstance(trouble := self.tries[0], Trouble):
            self.tries.pop(0)
            raise trouble
        self.connections.append(Connection())
        return self.connections[-1]

    async def work(self, _: AbstractConnection, works: Callable[[], None]) -> NoReturn:
        """Work for so many seconds, and lose the connection."""
        works()
        seconds = self.tries.pop(0)
        assert isinstance(seconds, float)
        self.now += seconds
        raise Trouble("lost")

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await Supervisor(Settings(), "test", self.work, self.told.append).run()


async def test_it_waits_longer_from_try_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, *[Trouble("away")] * 9)
    await script.run()
    assert script.waits == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 1.28, 1.28]
    assert script.told == ["away"]  # Once, not once per try.


async def test_it_waits_hardly_at_all_after_a_sound_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, 60.0, 60.0, 60.0)
    await script.run()
    assert script.waits == [0.02, 0.02, 0.02]
    assert script.told == [None, "lost", None, "lost", None, "lost"]
    assert all(connection.closed for connection in script.connections)


async def test_a_connection_that_ends_at_once_again_and_again_slows_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, *[0.0] * 9)
    await script.run()
    assert script.waits == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 1.28, 1.28]


async def test_one_that_ends_in_the_middle_of_a_flapping_network_is_made_again_as_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut while the queues are set up, it never worked; that alone is no reason to wait longer."""
    script = Script(monkeypatch, 0.1, 0.1, Trouble("lost while the queues were set up"), 0.2)
    await script.run()
    assert script.waits == [0.02, 0.02, 0.04, 0.02]


async def test_what_a_person_has_to_mend_is_tried_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, Trouble("wrong password", 30.0), Trouble("wrong password", 30.0))
    await script.run()
    assert script.waits == [30, 30]
