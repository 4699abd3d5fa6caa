"""The tests' own tools that need no broker."""

import socket

import pytest

from tests.support.eventually import eventually
from tests.support.sockets import SocketForbidden


async def test_eventually_returns_the_first_true_answer() -> None:
    answers = iter([0, "", None, "yes", "too late"])
    assert await eventually(lambda: next(answers)) == "yes"


async def test_eventually_awaits_coroutines_and_takes_assertions_for_not_yet() -> None:
    asked: list[int] = []

    async def ask() -> bool:
        asked.append(1)
        assert len(asked) > 2
        return True

    assert await eventually(ask)
    assert len(asked) == 3


async def test_eventually_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="a miracle; last answer: 0"):
        await eventually(lambda: 0, "a miracle", within=0.05)


def test_a_unit_test_opens_no_network_socket() -> None:
    with socket.socket() as unit, pytest.raises(SocketForbidden, match="opens no sockets"):
        unit.bind(("127.0.0.1", 0))
    with socket.socket() as unit, pytest.raises(SocketForbidden, match="never leave"):
        unit.connect(("192.0.2.1", 80))  # RFC 5737: nobody's address.


@pytest.mark.loopback
def test_a_loopback_test_may_talk_to_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
