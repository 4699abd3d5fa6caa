"""A queue that the Go worker made before us (seed 003) is used as it is."""

from pathlib import Path

import pytest

from tests.integration.campaign import (
    Publisher,
    Rules,
    dead_letters,
    declare_as_go_worker,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.messages import INVALID, Planner
from tests.integration.reckoning import reckon
from tests.support.amqp import DEAD_LETTERS, WORK_QUEUE, Client, connect
from tests.support.eventually import eventually


@pytest.mark.parametrize("by_ops", [True, False], ids=["dead letters too", "no dead letters yet"])
async def test_the_go_workers_queue_works_unchanged(
    by_ops: bool, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    waiting = [planner.good() for _ in range(5)]
    bad = [planner.invalid(kind) for kind in INVALID]
    refused, failing, exhausting = planner.refused(), planner.failing(1), planner.exhausting(2)
    rules = Rules(tmp_path / "rules.json", planner.rules)
    publisher = Publisher(amqp_url)
    settings = {
        "SANDBOX_RULES": rules.setting,
        "RETRY_DELAYS": "200ms",
        "MAX_ATTEMPTS": "2",
    }
    async with connect(amqp_url) as client:
        await declare_as_go_worker(client, dead_letters=by_ops)
        await publisher.publish(waiting)  # While nobody consumes, as on the day of the change.
        async with worker(amqp_url, tmp_path, daemon_output, **settings) as daemon:
            await daemon.ready()
            await publisher.publish([*bad, refused, failing, exhausting, planner.good()])
            await sent(daemon, len(waiting) + 2)
            await eventually(lambda: _count(client, len(bad) + 2), "all dead letters")
            assert daemon.printed.count("'whatsapp.queue' is not as we would make it") == 1
            assert await daemon.stop() == 0
        found = reckon(
            publisher.confirmed, texts_of(daemon), await dead_letters(amqp_url, daemon_output)
        )
        assert found.exact()
        # A declare succeeds only where it is equal: nothing of the queue was changed.
        await declare_as_go_worker(client, dead_letters=by_ops)
        assert await client.count(WORK_QUEUE) == 0
        for letter in await client.drain(DEAD_LETTERS):
            assert letter.headers["x-error-type"]
            assert letter.headers["x-error-detail"]
            assert letter.headers["x-origin-queue"] == WORK_QUEUE


async def _count(client: Client, count: int) -> bool:
    assert await client.count(DEAD_LETTERS) == count
    return True
