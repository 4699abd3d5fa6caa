"""Five thousand messages of every kind, and the arithmetic: nothing lost, nothing twice."""

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.campaign import (
    Publisher,
    Rules,
    dead_letters,
    nothing_waits,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.messages import Planned, Planner
from tests.integration.reckoning import reckon
from tests.support.amqp import DEAD_LETTERS, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually

MAX_ATTEMPTS = 3


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("prefetch", "messages"), [(1, 5_000), (20, 2_000)])
async def test_what_was_confirmed_is_sent_or_dead_lettered_or_a_duplicate(
    prefetch: int,
    messages: int,
    amqp_url: str,
    tmp_path: Path,
    daemon_output: Path,
) -> None:
    planner = Planner(seeded())
    planned = planner.mixed(messages, MAX_ATTEMPTS)
    before, during = planner.twins()
    rules = Rules(tmp_path / "rules.json", planner.rules)
    publisher = Publisher(amqp_url)
    settings = {
        "WHATSAPP_PREFETCH_COUNT": str(prefetch),
        "SANDBOX_RULES": rules.setting,
        "RETRY_DELAYS": "300ms,600ms",
        "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "PAUSE_HOLD": "0.3s",
    }
    async with worker(amqp_url, tmp_path, daemon_output, **settings) as daemon:
        await daemon.ready()
        half = messages // 2
        await publisher.publish([before, *planned[:half]])
        async with offline(daemon, rules):
            await publisher.publish([during, *planned[half:]])
        await fates(publisher.confirmed, daemon, amqp_url)
        async with connect(amqp_url) as client:
            await nothing_waits(client, tmp_path, settings["RETRY_DELAYS"])
        await metrics_agree(publisher.confirmed, daemon)
        assert await daemon.stop() == 0
    assert publisher.unknown == []
    found = reckon(
        publisher.confirmed, texts_of(daemon), await dead_letters(amqp_url, daemon_output)
    )
    assert found.exact()
    assert len(publisher.confirmed) == found.sent + found.dead + found.duplicates
    assert Counter(texts_of(daemon))[before.text] == 2
    if prefetch == 1:
        assert_order_kept(publisher.confirmed, texts_of(daemon))


class offline:  # noqa: N801  Reads as what it is: async with offline(...).
    """The sender is offline inside, long enough for everything held to be given back."""

    def __init__(self, daemon: RunningDaemon, rules: Rules) -> None:
        self.daemon = daemon
        self.rules = rules

    async def __aenter__(self) -> None:
        self.rules.set(offline=True)
        await eventually(
            lambda: "what is held is given back" in self.daemon.printed, "a long pause"
        )
        paused = 'worker_paused{reason="whatsapp"}'
        await eventually(lambda: self.daemon.metric(paused), "a pause in the metrics")
        assert await self.daemon.status("/readyz", 200)

    async def __aexit__(self, *_: object) -> None:
        self.rules.set()


async def fates(confirmed: list[Planned], daemon: RunningDaemon, amqp_url: str) -> None:
    """Return when outbox and dead-letter queue are as full as they have to get."""
    jobs = {each.job: each for each in confirmed}.values()
    to_send = sum(each.sendable for each in jobs)
    await sent(daemon, to_send, within=120)
    async with connect(amqp_url) as client:

        async def lie() -> bool:
            assert await client.count(DEAD_LETTERS) == len(jobs) - to_send
            return True

        await eventually(lie, "all dead letters", 30)


async def metrics_agree(confirmed: list[Planned], daemon: RunningDaemon) -> None:
    """What the worker counted is what the publisher's record says."""
    jobs = {each.job: each for each in confirmed}.values()
    dead = Counter(each.reason for each in jobs if each.reason)
    processed = 'worker_jobs_processed_total{status="%s",worker="whatsapp-worker"}'
    failed = 'worker_jobs_failed_total{error_type="%s",worker="whatsapp-worker"}'
    expected = {
        processed % "success": len(jobs) - dead.total(),
        processed % "failed": dead.total(),
        processed % "duplicate": len(confirmed) - len(jobs),
        'worker_duplicates_suppressed_total{kind="sent_before"}': len(confirmed) - len(jobs),
        'worker_jobs_retried_total{worker="whatsapp-worker"}': sum(each.retries for each in jobs),
        "whatsapp_sends_in_doubt_total": 0,
        'queue_depth{queue_name="whatsapp.queue"}': 0,
        'queue_dlq_size{queue_name="whatsapp.queue.failed"}': dead.total(),
        **{failed % reason: count for reason, count in dead.items()},
    }

    async def agrees() -> bool:
        assert {name: await daemon.metric(name) for name in expected} == expected
        return True

    await eventually(agrees, "metrics that agree", 15)


def assert_order_kept(confirmed: list[Planned], sent: list[str]) -> None:
    """First attempts were sent in the order of publishing."""
    first_of_job = {each.job: each for each in reversed(confirmed)}
    order = [
        each.text
        for each in confirmed
        if first_of_job[each.job] is each and each.sendable and not each.retries
    ]
    retried = {each.text for each in confirmed if each.retries}
    assert [text for text in sent if text not in retried] == order
