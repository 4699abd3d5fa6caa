"""Waiting for facts."""

import inspect
from asyncio import sleep
from collections.abc import Callable
from time import monotonic
from typing import Any

POLL_SECONDS = 0.02


async def eventually(
    ask: Callable[[], object],
    what: str = "the fact waited for",
    within: float = 10.0,
    every: float = POLL_SECONDS,
) -> Any:
    """Ask until the answer is true, and return it.

    Args:
        ask: a function or coroutine function; an AssertionError of it counts as "not yet".
        what: describes the fact, for the failure.
        within: seconds.
        every: seconds between two questions.

    Raises:
        AssertionError: it did not become true in time; says what the last answer was.
    """
    deadline = monotonic() + within
    while True:
        try:
            answer: Any = ask()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
        except AssertionError as failure:
            answer = failure
        if monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}; last answer: {answer!r}")
        await sleep(every)
