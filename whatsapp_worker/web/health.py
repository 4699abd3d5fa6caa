"""Whether the worker is well: three questions for three kinds of prober (HEALTH_CHECK.md).

`/healthz` is seed 003's, RabbitMQ alone; `/livez` asks whether a restart would help; `/readyz`
whether jobs are being worked on.
"""

import asyncio
import faulthandler
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

Check = Callable[[], str | None]
"""Returns None when fine, or a sentence for a person that says what is not."""

RABBITMQ_TIMEOUT = 2.0
"""Seconds the check of RabbitMQ may take (seed 003)."""
RABBITMQ_CACHE = 5.0
"""Seconds its result is used again (seed 003)."""
STDERR = 2
"""The file descriptor of standard error, whatever `sys.stderr` is."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the answers are made of; each sentence is free of secrets, as anybody may read it.

    Attributes:
        rabbitmq: whether RabbitMQ is connected; None, or why not (`connection closed`).
        whatsapp: the state of the WhatsApp session.
        event_loop: whether the event loop gets round in time (`Heartbeat.problem`).
        tasks: whether every task the worker cannot do without is running.
        send: whether no send has gone on beyond its limit.
        consuming: whether jobs are taken, or held back for WhatsApp's sake only.
        ledger: whether the ledger can be written.
        topology: whether exchange and queues were found or made as they have to be.
        draining: whether the worker is not stopping.
        whatsapp_online: whether WhatsApp can be sent to; None if readiness does not depend on it.
    """

    rabbitmq: Callable[[], Awaitable[str | None]]
    whatsapp: Callable[[], str]
    event_loop: Check
    tasks: Check
    send: Check
    consuming: Check
    ledger: Check
    topology: Check
    draining: Check
    whatsapp_online: Check | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prober is told.

    Attributes:
        healthy: 200 or 503.
        body: what is sent as JSON.
    """

    healthy: bool
    body: dict[str, object]


def livez(health: Health) -> Answer:
    """Answer whether the process works; never asks RabbitMQ, WhatsApp or the queue's length."""
    return _answer(
        {
            "event_loop": _run(health.event_loop),
            "tasks": _run(health.tasks),
            "send": _run(health.send),
        }
    )


def readyz(health: Health) -> Answer:
    """Answer whether jobs are being worked on."""
    problems = {
        "consuming": _run(health.consuming),
        "ledger": _run(health.ledger),
        "topology": _run(health.topology),
        "draining": _run(health.draining),
    }
    if health.whatsapp_online is not None:
        problems["whatsapp"] = _run(health.whatsapp_online)
    return _answer(problems)


def healthz(rabbitmq: str | None, whatsapp: str) -> Answer:
    """Answer as seed 003 does: by RabbitMQ only.

    Args:
        rabbitmq: None, or what is wrong.
        whatsapp: the state of the session, told for people; it decides nothing.
    """
    answer = _answer({"rabbitmq": rabbitmq}, fine="connected")
    return Answer(answer.healthy, {**answer.body, "whatsapp": whatsapp})


class RabbitMQCheck:
    """The check of RabbitMQ, bounded in time and asked once for many probes.

    Args:
        check: returns None when fine, or what is wrong.
        clock: seconds that never go back.
        timeout, keep: seconds; how long a check may take, how long its result is used again.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[str | None]],
        *,
        clock: Callable[[], float] = monotonic,
        timeout: float = RABBITMQ_TIMEOUT,
        keep: float = RABBITMQ_CACHE,
    ) -> None:
        self._check = check
        self._clock = clock
        self._timeout = timeout
        self._keep = keep
        self._fresh_until = float("-inf")
        self._problem: str | None = None
        self._asking = asyncio.Lock()

    async def problem(self) -> str | None:
        """Return None, or what is wrong; at most `keep` seconds old."""
        async with self._asking:
            if self._clock() >= self._fresh_until:
                self._problem = await self._ask()
                self._fresh_until = self._clock() + self._keep
            return self._problem

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._check()
        except TimeoutError:
            return "check timeout"
        except Exception as error:  # noqa: BLE001  A check that fails is an answer, not a crash.
            return _failed(error)


class Heartbeat:
    """Tells whether the event loop still gets round, and shows where it is when it does not.

    A loop that is blocked can say nothing by itself: the stacks of all threads are written to
    standard error then, once for each time (LOGGING.md).

    Args:
        interval: seconds between two beats.
        limit: seconds without a beat after which the loop counts as stuck.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        interval: float = 1.0,
        limit: float = 15.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._interval = interval
        self._limit = limit
        self._clock = clock
        self._last = clock()

    async def run(self) -> None:
        """Beat until cancelled."""
        try:
            while True:
                self._last = self._clock()
                # Put off by every beat; waits in a thread of C, which needs no GIL to write.
                faulthandler.dump_traceback_later(self._limit, file=STDERR)
                await asyncio.sleep(self._interval)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def problem(self) -> str | None:
        """Return None, or for how long the loop has not got round."""
        silent = self._clock() - self._last
        if silent <= self._limit:
            return None
        return f"no heartbeat for {silent:.0f} s, the limit is {self._limit:.0f} s"


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  A check that fails is an answer, not a crash.
        return _failed(error)


def _failed(error: Exception) -> str:
    return f"check failed: {type(error).__name__}"  # Its text might hold what is nobody's business.


def _answer(problems: dict[str, str | None], fine: str = "ok") -> Answer:
    healthy = all(problem is None for problem in problems.values())
    checks = [
        {
            "name": name,
            "status": "ok" if problem is None else "error",
            "message": fine if problem is None else problem,
        }
        for name, problem in problems.items()
    ]
    return Answer(healthy, {"status": "healthy" if healthy else "unhealthy", "checks": checks})
