"""What goes wrong while messages are under way, and the arithmetic afterwards.

L, what was confirmed and neither sent nor dead-lettered, is 0 throughout.  D, what was sent twice
although no send of it was ever in doubt, is 0 throughout.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager as Context
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
from aiormq.exceptions import ChannelPreconditionFailed

from tests.integration.campaign import (
    GO_ARGUMENTS,
    KINDS,
    Publisher,
    Rules,
    dead_letters,
    nothing_waits,
    prepare,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.gate import Way, gate
from tests.integration.messages import Planned, Planner
from tests.integration.reckoning import Reckoning, ledger, reckon
from tests.support.amqp import DEAD_LETTERS, EXCHANGE, ROUTING_KEY, WORK_QUEUE, Client, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node

MAX_ATTEMPTS = 5
REDELIVERED = "worker_deliveries_redelivered_total"
PAUSED = 'worker_paused{reason="whatsapp"}'

pytestmark = pytest.mark.timeout(120)


@dataclass(slots=True)
class Campaign:
    """Messages of every kind, a daemon that is started again and again, and the arithmetic."""

    node: Node
    vhost: str
    directory: Path
    printed: Path
    settings: dict[str, str]
    planner: Planner
    rules: Rules
    publisher: Publisher

    @property
    def url(self) -> str:
        """The AMQP URL of its virtual host."""
        return replace(self.node.login, vhost=self.vhost).url

    def daemon(self) -> Context[RunningDaemon]:
        """Run the daemon."""
        return worker(self.url, self.directory, self.printed, **self.settings)

    async def publish(self, size: int) -> None:
        """Publish so many messages of every kind."""
        planned = self.planner.mixed(size, MAX_ATTEMPTS, conflicts=False)
        self.rules.add(self.planner.rules)
        await self.publisher.publish(planned, window=20)

    async def finish(self, daemon: RunningDaemon) -> Reckoning:
        """Wait until everything has had its fate, stop the daemon, and do the arithmetic."""
        jobs = {each.job for each in self.publisher.confirmed}
        async with connect(self.url) as client:

            async def all_through() -> bool:
                gone = daemon.outbox.read_bytes().count(b"\n") if daemon.outbox.exists() else 0
                lying = await client.count(DEAD_LETTERS) or 0
                ready = await client.count(WORK_QUEUE)
                states = Counter(state for state, _, _ in ledger(self.directory).jobs.values())
                assert gone + lying >= len(jobs), (gone, lying, len(jobs), ready, states)
                return True

            await eventually(all_through, "sent + dead letters = jobs", 60)
            await self.nothing_waits(client)
            assert await daemon.stop() == 0
            assert await client.count(WORK_QUEUE) == 0
        return await self.reckon(daemon)

    async def nothing_waits(self, client: Client) -> None:
        """Return when no job is under way."""
        await nothing_waits(client, self.directory, self.settings["RETRY_DELAYS"])

    async def reckon(self, daemon: RunningDaemon) -> Reckoning:
        """Do the arithmetic."""
        letters = await dead_letters(self.url, self.printed)
        publisher = self.publisher
        return reckon(publisher.confirmed, texts_of(daemon), letters, publisher.unknown)

    def excuses(self, result: Reckoning) -> bool:
        """Whether each second send is of a job that is on record as having been in doubt."""
        published = [*self.publisher.confirmed, *self.publisher.unknown]
        return result.excused(published, ledger(self.directory))

    def never_in_doubt(self) -> bool:
        """Whether no send was ever in doubt, so that nothing can excuse a second one."""
        assert ledger(self.directory).doubtful == set()
        return True


Start = Callable[..., Campaign]


@pytest.fixture
def campaign(broker_node: Node, vhost: str, tmp_path: Path, daemon_output: Path) -> Start:
    """Prepare a campaign in this test's virtual host, or in another one of another node."""

    def start(node: Node = broker_node, name: str = vhost, **settings: str) -> Campaign:
        directory = tmp_path / name
        directory.mkdir()
        rules = Rules(directory / "rules.json")
        given = {
            "SANDBOX_RULES": rules.setting,
            "RETRY_DELAYS": "200ms,400ms",
            "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            **settings,
        }
        url = replace(node.login, vhost=name).url
        return Campaign(
            node, name, directory, daemon_output, given, Planner(seeded()), rules, Publisher(url)
        )

    return start


# The broker -------------------------------------------------------------------------------------


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
            # One Erlang expression: each call of rabbitmqctl takes longer than we want to wait.
            expression = (
                '[begin timer:sleep(Pause), [rabbit_networking:close_connection(C, "cut") || '
                f"C <- rabbit_networking:connections()] end || Pause <- {pauses}]."
            )
            await asyncio.to_thread(run.node.ctl, "eval", expression)

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
    async with gate(run.node.login.port) as door:
        await door.set(Way.OPEN)
        run.rules.set(latency=0.4)
        url = replace(run.node.login, vhost=run.vhost, port=door.port).url
        async with worker(url, run.directory, run.printed, **run.settings) as daemon:
            await daemon.ready()
            first = run.planner.good() if named else run.planner.keyless()
            await run.publisher.publish([first, run.planner.keyless()])
            await _mid_send(run)
            await door.set(Way.DEAF)
            await sent(daemon, 1)
            await eventually(lambda: '"job sent"' in daemon.printed, "the ack was written")
            await door.set(Way.SHUT)
            await door.set(Way.OPEN)
            result = await run.finish(daemon)
    assert _redelivered(daemon) == 1
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
    async with gate(run.node.login.port) as door:
        await door.set(Way.OPEN)
        run.rules.set(latency=0.4)
        url = replace(run.node.login, vhost=run.vhost, port=door.port).url
        async with worker(url, run.directory, run.printed, **run.settings) as daemon:
            await daemon.ready()
            await run.publisher.publish(run.planner.twins())
            await _mid_send(run)
            await door.set(Way.MUTE)
            await sent(daemon, 1)
            async with connect(run.url) as client:
                await eventually(lambda: _all_ready(client, 0), "RabbitMQ has sent the second")
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
        await _paused(daemon, 1)
        await run.publish(40)
        in_the_queue = run.publisher.confirmed[len(settled) :]
        await _make_anew(client, kind)
        run.rules.set()
        # What lay in the deleted queue is gone, which is nobody's promise.
        run.publisher.confirmed[:] = settled
        run.publisher.unknown += in_the_queue
        await run.publish(150)
        await daemon.ready()
        result = await run.finish(daemon)
        assert daemon.printed.count("is not as we would make it") == (1 if kind == "quorum" else 2)
    assert result.exact()


async def _make_anew(client: Client, kind: str) -> None:
    """Delete the work queue, and be faster than the worker in making it again."""
    other: dict[str, Any] = {"x-queue-type": "quorum", **GO_ARGUMENTS, "x-max-length": 10**6}
    arguments = GO_ARGUMENTS if kind == "quorum" else other

    async def faster() -> bool:
        try:
            async with client.channel() as channel:
                await channel.queue_delete(WORK_QUEUE)
                queue = await channel.declare_queue(WORK_QUEUE, durable=True, arguments=arguments)
                await queue.bind(EXCHANGE, ROUTING_KEY)
        except ChannelPreconditionFailed:
            return False
        return True

    await eventually(faster, "we made the queue")


# The daemon -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_unknown", "kind", "kills"), [("resend", "quorum", 6), ("park", "classic", 4)]
)
async def test_a_daemon_that_is_killed_loses_nothing_and_doubles_only_what_was_in_doubt(
    on_unknown: str, kind: str, kills: int, campaign: Start
) -> None:
    run = campaign(ON_UNKNOWN=on_unknown, MAX_ATTEMPTS="20")
    await prepare(run.url, kind)
    run.rules.set(latency=0.01)
    random = run.planner.random
    async with run.daemon() as daemon:
        await daemon.ready()  # The exchange leads to the queue.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_publish_keyed(run, 400))
        for _ in range(kills):
            async with run.daemon() as daemon:
                await sent(daemon, len(texts_of(daemon)) + random.randint(1, 40))
                await asyncio.sleep(random.random() * 0.02)  # Any moment: the point of this test.
                daemon.kill()
    run.rules.set()
    async with run.daemon() as daemon:
        await daemon.ready()
        result = await run.finish(daemon)
    kept = ledger(run.directory)
    assert result.nothing_lost()
    assert result.excused(run.publisher.confirmed, kept)
    assert result.surplus.total() <= kills
    assert len(kept.doubtful) <= kills
    if on_unknown == "park":
        assert result.surplus.total() == 0
        assert len(result.parked) == len(kept.doubtful)


async def _publish_keyed(run: Campaign, size: int) -> None:
    """Publish messages that are named, so that a second send can be traced to its row."""
    planner = run.planner
    planned: list[Planned] = []
    for number in range(size):
        planned.append(planner.failing(1) if number % 10 == 9 else planner.good())
        if number % 20 == 5:
            planned += [planner.keyless(), planner.invalid("half a JSON object")]
    run.rules.add(planner.rules)
    await run.publisher.publish(planned)


@KINDS
async def test_sigterm_in_mid_send_finishes_that_send_and_gives_the_rest_back(
    kind: str, campaign: Start
) -> None:
    run = campaign(WHATSAPP_PREFETCH_COUNT="3")
    await prepare(run.url, kind)
    run.rules.set(latency=0.7)
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good() for _ in range(6)])
        await _mid_send(run)
        before = len(texts_of(daemon))
        assert await daemon.stop() == 0
        assert len(texts_of(daemon)) == before + 1
    assert {state for state, _, _ in ledger(run.directory).jobs.values()} == {"SENT"}
    async with connect(run.url) as client:
        assert await client.count(WORK_QUEUE) == 6 - before - 1
    run.rules.set()
    async with run.daemon() as daemon:
        await daemon.ready()
        result = await run.finish(daemon)
        assert await daemon.metric(REDELIVERED) in {0, *range(4)}
    assert result.exact()
    assert texts_of(daemon) == [each.text for each in run.publisher.confirmed]


async def _mid_send(run: Campaign) -> None:
    def sending() -> bool:
        return any(state == "SENDING" for state, _, _ in ledger(run.directory).jobs.values())

    await eventually(sending, "a send has begun")


async def test_a_second_sigterm_ends_at_once(campaign: Start) -> None:
    run = campaign()
    run.rules.set(latency=60)
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good()])
        await _mid_send(run)
        daemon.signal(SIGTERM)
        await eventually(lambda: "stopping" in daemon.printed, "it is stopping")
        assert await daemon.status("/readyz", 503)
        assert await daemon.status("/livez", 200)
        daemon.signal(SIGTERM)
        assert await daemon.exit_code(3) == 128 + SIGTERM
    assert texts_of(daemon) == []


@pytest.mark.parametrize(("on_unknown", "hangs"), [("resend", 2), ("park", 1)])
async def test_a_send_that_hangs_ends_the_process_and_is_in_doubt_afterwards(
    on_unknown: str, hangs: int, campaign: Start
) -> None:
    run = campaign(ON_UNKNOWN=on_unknown, SEND_TIMEOUT="1s")
    run.rules.add({"+15550107777": {"hang": True}})
    stuck = run.planner.good(destination="+15550107777")
    for number in range(hangs):
        async with run.daemon() as daemon:
            if not number:
                await daemon.ready()
                await run.publisher.publish([stuck])
            assert await daemon.exit_code(30) == os.EX_TEMPFAIL
    assert "a send does not end" in daemon.printed
    async with run.daemon() as daemon:
        await daemon.ready()
        await run.publisher.publish([run.planner.good()])
        result = await run.finish(daemon)
    assert result.nothing_lost()
    assert result.parked == {stuck.body}
    assert texts_of(daemon) == [run.publisher.confirmed[1].text]
    kept = ledger(run.directory)
    assert kept.jobs[stuck.ledger_key(kept.secret)] == ("DEAD", hangs, False)


# WhatsApp ---------------------------------------------------------------------------------------


async def test_a_short_outage_of_whatsapp_gives_nothing_back(campaign: Start) -> None:
    run = campaign(WHATSAPP_PREFETCH_COUNT="3")
    async with run.daemon() as daemon:
        await daemon.ready()
        for flap in (1, 2):
            run.rules.set(offline=True)
            await _paused(daemon, flap)
            await run.publish(40)
            assert await daemon.status("/readyz", 200)
            await eventually(lambda: daemon.metric(PAUSED), "a pause in the metrics")
            run.rules.set()
            await eventually(lambda: _is_zero(daemon, PAUSED), "no pause in the metrics")
        result = await run.finish(daemon)
        assert "given back" not in daemon.printed
    assert result.exact()
    assert _redelivered(daemon) == 0


@KINDS
async def test_each_long_outage_of_whatsapp_gives_what_is_held_back_once(
    kind: str, campaign: Start
) -> None:
    flaps, prefetch = 3, 3
    run = campaign(WHATSAPP_PREFETCH_COUNT=str(prefetch), PAUSE_HOLD="300ms")
    await prepare(run.url, kind)
    async with run.daemon() as daemon, connect(run.url) as client:
        await daemon.ready()
        for flap in range(flaps):
            run.rules.set(offline=True)
            await _paused(daemon, flap + 1)
            waiting = [run.planner.good() for _ in range(10)]
            await run.publisher.publish(waiting)
            await _long_pause(daemon, flap + 1)
            await eventually(lambda: _all_ready(client, 10), "all lie in the queue again")
            run.rules.set()
            await sent(daemon, 10 * (flap + 1))
        result = await run.finish(daemon)
    assert result.exact()
    assert result.dead == 0
    assert 1 <= _redelivered(daemon) <= flaps * prefetch
    assert texts_of(daemon) == [each.text for each in run.publisher.confirmed]


async def _paused(daemon: RunningDaemon, times: int) -> None:
    """The log, because the metric is a sample that may be a second old."""
    await eventually(lambda: daemon.printed.count("paused (whatsapp): the") == times, "a pause")


async def _long_pause(daemon: RunningDaemon, times: int) -> None:
    await eventually(lambda: daemon.printed.count("is given back") == times, "a long pause")


async def _all_ready(client: Client, count: int) -> bool:
    ready = await client.count(WORK_QUEUE)
    assert ready == count, ready
    return True


async def _is_zero(daemon: RunningDaemon, sample: str) -> bool:
    return await daemon.metric(sample) == 0


def _redelivered(daemon: RunningDaemon) -> int:
    """How many deliveries were not the first of their message, as the log tells."""
    return daemon.printed.count('"redelivered": true')
