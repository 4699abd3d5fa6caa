"""Runs blocking native calls on daemon threads of their own, never on the shared executor.

A native call may hang for minutes and cannot be cancelled; on asyncio's default executor a few of
them would starve everything else, and the interpreter would wait for them at exit (both measured).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


def on_thread(name: str, function: Callable[[], T]) -> asyncio.Future[T]:
    """Start a call on its own thread.

    Args:
        name: what the thread is called.
        function: the blocking call.

    Returns:
        A future of its result.  Cancelling the future does not end the call: wait for it with
        `asyncio.wait`, which leaves it alone.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    # Somebody may stop waiting before a failing call ends; that is no error of its own.
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def work() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  It is handed to whoever waits.
            tell(loop, partial(_fail, future, error))
        else:
            tell(loop, partial(_succeed, future, result))

    Thread(target=work, name=name, daemon=True).start()
    return future


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Run `callback` on the loop, from any thread; a loop that is closed wants to hear nothing."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
