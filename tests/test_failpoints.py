"""A failpoint ends the process in its own crash window, and nowhere else."""

import inspect
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Step, returned
from tests.test_logs_process import run
from tests.test_pipeline import BROKEN, NO_PUBLISHER, OFFLINE, Worker, job
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, PauseReason, Refused
from whatsapp_worker.failpoints import Failpoint, arm

ROOT = Path(__file__).parent.parent
REFUSED = Refused(ErrorType.NOT_ON_WHATSAPP, "no account")
NO_JOB = replace(job(), body=b"{")

SENT = {"delivered": "", "sending": "sending", "taken": "send", "sent": "sent", "acked": "ack"}
"""The windows that a message passes which is sent, each with what was done right before it."""
SENT_AND_FAILED = {"delivered": "", "sending": "sending", "failing": "send", "failed": "failed"}
RETRIED = SENT_AND_FAILED | {"copied": "retry", "retried": "retried"}
DEAD = SENT_AND_FAILED | {"dead_lettered": "dead_letter", "dead": "dead"}
REJECTED = {"rejecting": "", "rejected": "reject"}

WAYS: dict[str, tuple[Step, Delivery, dict[str, str]]] = {
    "sent": ("WA1", job(), SENT),
    "retried": (BROKEN, job(), RETRIED),
    "dead": (REFUSED, job(), DEAD),
    "rejected": ("WA1", NO_JOB, REJECTED),
}


class Killed(BaseException):
    """The process has ended here."""


class Noted:
    """A collaborator whose ended calls are kept, in order."""

    def __init__(self, collaborator: object, done: list[str]) -> None:
        self._collaborator = collaborator
        self._done = done

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._collaborator, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def noted(*arguments: object) -> object:
            try:
                return await method(*arguments)
            finally:
                self._done.append(name)

        return noted


class Armed(Worker):
    """A worker that keeps what it has done, and may be killed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.done: list[str] = []
        collaborators: dict[str, Any] = {
            name: Noted(getattr(self.pipeline, name), self.done)
            for name in ("broker", "ledger", "sender")
        }
        self.unarmed = replace(self.pipeline, **collaborators)

    def arm(self, failpoint: Failpoint, kill: Callable[[], None]) -> None:
        self.pipeline = arm(self.unarmed, failpoint, kill)


def die() -> None:
    raise Killed


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Armed]:
    worker = Armed(tmp_path)
    await worker.ledger.open()
    yield worker
    await worker.ledger.close()


@pytest.mark.parametrize(
    ("way", "window"), [(way, window) for way in WAYS for window in WAYS[way][2]]
)
async def test_the_process_ends_in_its_window_and_not_a_step_later(
    worker: Armed, way: str, window: str
) -> None:
    step, delivery, windows = WAYS[way]
    worker.sender.script = [step]
    worker.arm(Failpoint(window), die)
    with pytest.raises(Killed):
        await worker.handle(delivery)
    steps = [step for step in windows.values() if step]
    last = windows[window]
    assert worker.done == (steps[: steps.index(last) + 1] if last else [])


@pytest.mark.parametrize("failpoint", Failpoint)
@pytest.mark.parametrize("way", WAYS)
async def test_each_way_passes_its_own_windows_only(
    worker: Armed, way: str, failpoint: Failpoint
) -> None:
    step, delivery, windows = WAYS[way]
    worker.sender.script = [step]
    reached: list[str] = []
    worker.arm(failpoint, lambda: reached.append(failpoint))
    await worker.handle(delivery)
    assert reached == [failpoint] * (failpoint in windows)


def test_every_window_is_on_some_way() -> None:
    assert set().union(*(windows for _, _, windows in WAYS.values())) == set(Failpoint)


async def test_only_the_ack_of_what_was_sent_just_now_counts(worker: Armed) -> None:
    acks: list[str] = []
    worker.arm(Failpoint.ACKED, lambda: acks.append("ack"))
    assert await worker.handle(job(), job()) == ["Sent", "Duplicate"]
    assert worker.verbs == ["ack", "ack"]
    assert acks == ["ack"]


async def test_an_outage_is_no_failure(worker: Armed) -> None:
    worker.sender.script = [OFFLINE]
    worker.arm(Failpoint.FAILING, die)
    assert await worker.handle(job()) == ["Sent"]
    assert "unsent" in worker.done


async def test_a_copy_that_is_not_confirmed_is_none(worker: Armed) -> None:
    worker.sender.script = [BROKEN]
    worker.broker.trouble = [NO_PUBLISHER]
    worker.arm(Failpoint.COPIED, die)
    with pytest.raises(Killed):
        await worker.handle(job())
    assert worker.done.count("retry") == 2


async def test_what_is_taken_and_given_back_goes_through(worker: Armed) -> None:
    worker.arm(Failpoint.DELIVERED, die)
    worker.pacer.report(PauseReason.WHATSAPP, "offline")
    worker.pacer.let_go()
    worker.broker.put(job())
    worker.broker.end()
    await worker.pipeline.run()
    assert worker.verbs == ["give back"]


def test_without_a_failpoint_the_pipeline_is_the_very_same(tmp_path: Path) -> None:
    pipeline = Worker(tmp_path).pipeline
    assert arm(pipeline, None) is pipeline


async def test_the_end_is_sigkill_and_the_last_line_says_so(tmp_path: Path) -> None:
    ended = run(
        """
        import asyncio, os
        from pathlib import Path
        from tests.test_pipeline import Worker, job
        from whatsapp_worker.failpoints import Failpoint, arm

        async def main():
            worker = Worker(Path(os.environ["DIRECTORY"]))
            await worker.ledger.open()
            worker.pipeline = arm(worker.pipeline, Failpoint.TAKEN)
            await worker.handle(job())

        asyncio.run(main())
        """,
        DIRECTORY=str(tmp_path),
        PYTHONPATH=str(ROOT),
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr == "FAILPOINT: taken is reached, so the worker kills itself\n"
    after = Worker(tmp_path)
    await after.ledger.open()
    assert await after.handle(returned(job())) == ["Retry"]
    assert after.broker.retries[0].job.unknown_count == 1
    await after.ledger.close()
