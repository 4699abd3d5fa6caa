"""What passes aiormq by, and what must not."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from yarl import URL

from tests.support.wire import FakeTransport, ack, deliver, nack, on
from whatsapp_worker.amqp import wire as module
from whatsapp_worker.amqp.incoming import Arrival
from whatsapp_worker.amqp.wire import A_HEARTBEAT, HEARTBEAT_SECONDS, MOST_TOGETHER, Tap, Wire

OURS, OTHER = 1, 2
PREFETCH = 10
HEARTBEAT = pamqp.frame.marshal(Heartbeat(), 0)


class Rig:
    """A wire, with one channel that somebody listens to."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self.reader = asyncio.StreamReader()
        self.wire = Wire()
        self.frames = on(self.wire, self.transport, self.reader)
        self.arrived: list[Arrival] = []
        self.tap: Tap = self.wire.listen(OURS, PREFETCH, self.arrived.append)

    def receive(self, data: bytes, cuts: Iterator[int] | None = None) -> None:
        for cut in cuts or iter(()):
            self.frames.data_received(data[:cut])
            data = data[cut:]
        self.frames.data_received(data)

    @property
    def left(self) -> bytes:
        """What aiormq has to read."""
        return bytes(self.reader._buffer)  # type: ignore[attr-defined]  # Reading it would wait.


@pytest.fixture
async def rig() -> Rig:
    return Rig()


# In ----------------------------------------------------------------------------------------------


async def test_a_delivery_on_our_channel_is_taken_with_all_it_says(rig: Rig) -> None:
    properties = Basic.Properties(message_id="nº 1", headers={"n": 7})
    rig.receive(
        deliver(OURS, 5, b"body", redelivered=True, exchange="an.exchange", properties=properties)
    )
    (arrival,) = rig.arrived
    assert (arrival.tag, arrival.redelivered) == (5, True)
    assert (arrival.exchange, arrival.body) == ("an.exchange", b"body")
    assert (arrival.properties.message_id, arrival.properties.headers) == ("nº 1", {"n": 7})
    assert rig.left == A_HEARTBEAT


async def test_a_body_of_many_frames_is_put_together_and_one_of_none_is_empty(rig: Rig) -> None:
    rig.receive(deliver(OURS, 1, b"0123456789", most=3) + deliver(OURS, 2, b""))
    assert [(each.tag, each.body) for each in rig.arrived] == [(1, b"0123456789"), (2, b"")]


async def test_all_else_is_left_to_aiormq_in_its_order(rig: Rig) -> None:
    others = [
        pamqp.frame.marshal(commands.Connection.Blocked("memory"), 0),
        pamqp.frame.marshal(Basic.ConsumeOk("consumer"), OURS),
        HEARTBEAT,
        deliver(OTHER, 1, b"for somebody else"),
        pamqp.frame.marshal(Basic.Return(312, "NO_ROUTE", "", "key"), OURS),
        pamqp.frame.marshal(ContentHeader(body_size=1), OURS),
        pamqp.frame.marshal(ContentBody(b"x"), OURS),
    ]
    rig.receive(deliver(OURS, 1, b"ours").join(others))
    assert rig.left == b"".join(others)
    assert [each.body for each in rig.arrived] == [b"ours"] * (len(others) - 1)


FRAMES = st.lists(
    st.one_of(
        st.builds(
            lambda tag, body, most: (deliver(OURS, tag, body, most=most), (tag, body)),
            st.integers(1, 2**63 - 1),
            st.binary(max_size=30),
            st.integers(1, 30),
        ),
        st.sampled_from(
            [
                (HEARTBEAT, None),
                (deliver(OTHER, 9, b"\xce\x01\0\x01"), None),
                (pamqp.frame.marshal(Basic.CancelOk("consumer"), OURS), None),
            ]
        ),
    ),
    max_size=8,
)


@given(FRAMES, st.data())
async def test_it_does_not_matter_where_the_bytes_are_cut(
    frames: list[tuple[bytes, tuple[int, bytes] | None]], data: st.DataObject
) -> None:
    rig = Rig()
    rig.frames._told = float("inf")  # No heartbeats of ours between.
    raw = b"".join(frame for frame, _ in frames)
    rig.receive(raw, iter(data.draw(st.lists(st.integers(0, 40), max_size=20))))
    assert [(each.tag, each.body) for each in rig.arrived] == [told for _, told in frames if told]
    assert rig.left == b"".join(frame for frame, told in frames if not told)


async def test_aiormq_hears_of_a_connection_that_only_delivers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(rig.frames, "_clock", lambda: now)
    for _ in range(3):
        rig.receive(deliver(OURS, 1, b"x"))
    assert rig.left == HEARTBEAT
    now += HEARTBEAT_SECONDS
    rig.receive(deliver(OURS, 1, b"x"))
    assert rig.left == HEARTBEAT * 2


async def test_a_frame_that_is_not_whole_is_no_sign_of_life_yet(rig: Rig) -> None:
    """While the connection is opened, aiormq takes a heartbeat for a wrong answer."""
    start = pamqp.frame.marshal(commands.Connection.Start(), 0)
    rig.receive(start[:20])
    assert rig.left == b""
    rig.receive(start[20:])
    assert rig.left == start


@pytest.mark.parametrize(
    "other", [b"AMQP\0\0\x09\x01", b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x01\0\x02\x02\x28\0"]
)
async def test_what_is_no_amqp_of_this_version_is_left_to_aiormq_whole(
    rig: Rig, other: bytes
) -> None:
    rig.receive(other)
    rig.receive(deliver(OURS, 1, b"x"))
    assert rig.left == other + deliver(OURS, 1, b"x")
    assert rig.arrived == []


async def test_a_frame_without_its_end_is_left_to_aiormq_which_gives_up(rig: Rig) -> None:
    broken = deliver(OURS, 1, b"x")[:-1] + b"\0"
    rig.receive(broken)
    assert rig.arrived == []
    assert rig.left.endswith(b"x\0")


async def test_aiormq_sees_a_connection_end_within_a_frame(rig: Rig) -> None:
    rig.receive(HEARTBEAT[:5])
    rig.frames.eof_received()
    assert rig.left == HEARTBEAT[:5]
    assert not rig.reader.at_eof()  # Not before it has read those.
    await rig.reader.read()
    assert rig.reader.at_eof()


async def test_an_end_between_frames_is_just_an_end(rig: Rig) -> None:
    rig.frames.eof_received()
    assert rig.reader.at_eof()


# Out ---------------------------------------------------------------------------------------------


async def test_settlements_of_one_turn_of_the_loop_leave_together(rig: Rig) -> None:
    rig.tap.ack(1)
    rig.tap.requeue(2)
    rig.tap.reject(3)
    assert rig.transport.writes == 0
    await asyncio.sleep(0)
    expected = ack(OURS, 1) + nack(OURS, 2, requeue=True) + nack(OURS, 3, requeue=False)
    assert (bytes(rig.transport.written), rig.transport.writes) == (expected, 1)
    rig.tap.ack(2**63 - 1)
    await asyncio.sleep(0)
    assert rig.transport.written == expected + ack(OURS, 2**63 - 1)


async def test_rabbitmq_hears_of_half_of_what_is_held_without_waiting_for_the_rest(
    rig: Rig,
) -> None:
    for tag in range(1, 9):
        rig.tap.ack(tag)
    half = b"".join(ack(OURS, tag) for tag in range(1, 6))
    assert (bytes(rig.transport.written), rig.transport.writes) == (half, 1)
    await asyncio.sleep(0)
    assert rig.transport.written == half + b"".join(ack(OURS, tag) for tag in range(6, 9))
    assert rig.transport.writes == 2


@pytest.mark.parametrize(("prefetch", "together"), [(1, 1), (2, 1), (4, 2), (200, MOST_TOGETHER)])
async def test_so_many_settlements_wait_for_each_other(prefetch: int, together: int) -> None:
    rig = Rig()
    tap = rig.wire.listen(OURS, prefetch, rig.arrived.append)
    for tag in range(together - 1):
        tap.ack(tag)
    assert rig.transport.writes == 0
    tap.ack(together)
    assert rig.transport.writes == 1


async def test_who_closes_does_not_wait_for_the_next_turn(rig: Rig) -> None:
    rig.tap.ack(1)
    rig.wire.flush()
    assert rig.transport.written == ack(OURS, 1)
    await asyncio.sleep(0)
    assert rig.transport.writes == 1


async def test_nothing_is_settled_where_the_connection_is_closed(rig: Rig) -> None:
    rig.tap.ack(1)
    rig.transport.close()
    rig.wire.flush()
    with pytest.raises(ConnectionResetError, match="connection was closed"):
        rig.tap.ack(2)
    assert rig.transport.writes == 0


async def test_nothing_is_settled_before_there_is_a_connection() -> None:
    with pytest.raises(ConnectionResetError):
        Wire().listen(OURS, PREFETCH, print).ack(1)


async def test_nothing_is_settled_on_a_channel_that_rabbitmq_closed(rig: Rig) -> None:
    """RabbitMQ would take it for a violation of the protocol, and end the whole connection."""
    close = pamqp.frame.marshal(commands.Channel.Close(406, "PRECONDITION_FAILED", 60, 80), OURS)
    rig.receive(close)
    assert rig.left == close
    with pytest.raises(ConnectionResetError, match="channel was closed"):
        rig.tap.ack(1)


# Opening -----------------------------------------------------------------------------------------


@pytest.mark.loopback
async def test_a_new_connection_has_no_listener_and_nothing_left_to_send(rig: Rig) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        rig.tap.ack(1)
        reader, writer = await rig.wire.create(URL(f"amqp://127.0.0.1:{port}"))
        rig.wire.flush()
        assert not rig.wire.takes(module.METHOD, OURS, deliver(OURS, 1, b"x")[7:])
        with pytest.raises(ConnectionResetError):  # There, it would settle another delivery.
            rig.tap.ack(2)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert rig.transport.writes == 0


async def test_a_connection_that_can_not_be_had_fails_as_aiormq_s_own_would(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    context = ssl.create_default_context()

    class Provider:
        async def get_context(self) -> ssl.SSLContext:
            return context

    async def refuse(_: object, host: str, port: int, *, ssl: object) -> Any:
        asked.extend((host, port, ssl))
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    with pytest.raises(AMQPConnectionError, match="refused") as failure:
        await rig.wire.create(URL("amqps://rabbit:5671"), ssl_context_provider=Provider())
    assert isinstance(failure.value.__cause__, ConnectionRefusedError)
    assert asked == ["rabbit", 5671, context]
