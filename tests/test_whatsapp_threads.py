"""Blocking calls on threads of their own."""

import asyncio
import threading

import pytest

from tests.fakes_whatsapp import until
from whatsapp_worker.whatsapp.threads import on_thread, tell


async def test_a_call_returns_or_raises_through_its_future() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert await on_thread("test", lambda: 42) == 42
    with pytest.raises(KeyError):
        await on_thread("test", fail)


async def test_a_call_has_a_daemon_thread_of_its_own() -> None:
    thread = await on_thread("its-name", threading.current_thread)

    assert thread.daemon
    assert thread.name == "its-name"
    assert thread is not await on_thread("its-name", threading.current_thread)


@pytest.mark.parametrize("error", [None, KeyError("x")])
async def test_a_call_nobody_waits_for_ends_in_silence(error: Exception | None) -> None:
    begun, go = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go.wait(10)
        if error is not None:
            raise error

    future = on_thread("given-up", call)
    await until(begun.is_set)
    future.cancel()
    go.set()
    await until(lambda: "given-up" not in {thread.name for thread in threading.enumerate()})
    await asyncio.sleep(0)

    assert future.cancelled()


def test_a_loop_that_has_ended_is_told_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()

    tell(loop, lambda: pytest.fail("it was told"))
