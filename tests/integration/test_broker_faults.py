"""RabbitMQ fails while messages are under way: nothing is lost, or sent twice in silence."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.campaign import (
    GO_ARGUMENTS,
    KINDS,
    make_anew,
    prepare,
    sent,
    texts_of,
)
from tests.integration.fault_campaign import (
    Start,
    all_ready,
    mid_send,
    paused,
    redelivered,
)
from tests.integration.gate import Way
from tests.support.amqp import connect
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node

pytestmark = pytest.mark.timeout(120)


async def test_nothing_is_lost_or_doubled_when_the_node_stops_or_dies(
    own_node: Node, campaign: Start
) -> None:
    await asyncio.to_thread(own_node.add_vhosts, "quorum", "classic")
    ours = campaign(own_node, "quorum")
    theirs = campaign(own_node, "classic", WHATSAPP_PREFETCH_COUNT="5")
    await prepare(theirs.url, "classic")
    async with ours.daemon() as one, theirs.daemon() as other:
        await asyncio.gather(one.ready(), other.ready())
        for take_away in (own_node.stop, own_node.kill):

            async def outage(take_away: Callable[[], None] = take_away) -> None:
                await asyncio.gather(sent(one, len(texts_of(one)) + 20), one.ready())
                await asyncio.to_thread(take_away)
                assert one.printed.count("Traceback") == 0
                await asyncio.to_thread(own_node.start)

            await asyncio.gather(ours.publish(300), theirs.publish(300), outage())
        results = [await ours.finish(one), await theirs.finish(other)]
    assert all(result.nothing_lost() for result in results)
    # A classic queue forgets its latest acks when its node is killed (measured: those of the last
    # 60 ms, 40 messages).  They come again, and one without any key can not be recognised then.
    keyless = {each.text for each in theirs.publisher.confirmed if not each.key}
    assert results[1].surplus.keys() <= keyless
    # A dead letter may lie there twice, when the ack of the message it is of was lost.
    assert ours.excuses(results[0])


@KINDS
async def test_nothing_is_lost_or_doubled_when_connections_are_cut_again_and_again(
    kind: str, campaign: Start
) -> None:
    run = campaign()
    await prepare(run.url, kind)
    pauses = [run.planner.random.randint(50, 1500) for _ in range(8)]
    async with run.daemon() as daemon:
        await daemon.ready()
        run.rules.set(latency=0.01)

        async def cut() -> None:
            await run.evaluated(
                '[begin timer:sleep(Pause), [rabbit_networking:close_connection(C, "cut") || '
                f"C <- rabbit_networking:connections()] end || Pause <- {pauses}]"
            )

        await asyncio.gather(run.publish(400), cut())
        lost = daemon.printed.count("the connection to RabbitMQ was lost")
        run.rules.set()
        result = await run.finish(daemon)
    assert lost >= len(pauses) // 2
    assert result.nothing_lost()
    assert run.excuses(result)


@KINDS
@pytest.mark.parametrize("named", [True, False], ids=["named", "keyless"])
async def test_an_ack_lost_with_its_connection_sends_nothing_twice_without_saying_so(
    named: bool, kind: str, campaign: Start
) -> None:
    """The ack leaves us and never reaches RabbitMQ: nobody can notice that (window W5)."""
    run = campaign()
    await prepare(run.url, kind)
    async with run.daemon_behind_a_gate() as (daemon, door):
        first = run.planner.good() if named else run.planner.keyless()
        await run.publisher.publish([first, run.planner.keyless()])
        await mid_send(run)
        await door.set(Way.DEAF)
        await sent(daemon, 1)
        await daemon.says('"job sent"')
        await door.set(Way.SHUT)
        await door.set(Way.OPEN)
        result = await run.finish(daemon)
    assert redelivered(daemon) == 1
    if named:
        assert result.exact()
        assert run.never_in_doubt()
    else:  # It may as well be another one just like it: see the next test.
        assert result.nothing_lost()
        assert run.excuses(result)
        assert result.surplus.total() == 1


@KINDS
async def test_a_message_just_like_the_one_before_it_is_never_taken_for_it(
    kind: str, campaign: Start
) -> None:
    """RabbitMQ has our ack and sends the second one; that it does is all we never hear."""
    run = campaign()
    await prepare(run.url, kind)
    async with run.daemon_behind_a_gate() as (daemon, door):
        await run.publisher.publish(run.planner.twins())
        await mid_send(run)
        await door.set(Way.MUTE)
        await sent(daemon, 1)
        async with connect(run.url) as client:
            await eventually(lambda: all_ready(client, 0), "RabbitMQ has sent the second")
        await door.set(Way.SHUT)
        await door.set(Way.OPEN)
        result = await run.finish(daemon)
    assert result.exact()


@KINDS
async def test_a_work_queue_made_anew_with_other_arguments_is_consumed_at_once(
    kind: str, campaign: Start
) -> None:
    run = campaign()
    await prepare(run.url, kind)
    async with run.daemon() as daemon, connect(run.url) as client:
        await daemon.ready()
        await run.publish(150)
        settled = list(run.publisher.confirmed)
        await run.nothing_waits(client)
        run.rules.set(offline=True)
        await paused(daemon, 1)
        await run.publish(40)
        in_the_queue = run.publisher.confirmed[len(settled) :]
        other: dict[str, Any] = {"x-queue-type": "quorum", **GO_ARGUMENTS, "x-max-length": 10**6}
        await make_anew(GO_ARGUMENTS if kind == "quorum" else other, client)
        run.rules.set()
        # What lay in the deleted queue is gone, which is nobody's promise.
        run.publisher.confirmed[:] = settled
        run.publisher.unknown += in_the_queue
        await run.publish(150)
        await daemon.ready()
        result = await run.finish(daemon)
        assert daemon.printed.count("is not as we would make it") == (1 if kind == "quorum" else 2)
    assert result.exact()
