"""What a daemon under a mixed load says and leaves behind fits contracts/, line by line."""

import json
from pathlib import Path

from tests.integration.campaign import Publisher, Rules, seeded, sent, worker
from tests.integration.messages import INVALID, Planner
from tests.support.amqp import DEAD_LETTERS, Client, connect
from tests.support.eventually import eventually
from tests.test_contracts import OUTCOMES_LOGGED, schema


async def test_every_line_and_dead_letter_of_a_mixed_load_fits_its_schema(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    good = [planner.good() for _ in range(5)]
    bad = [planner.invalid(kind) for kind in INVALID]
    failing, refused, exhausting = planner.failing(1), planner.refused(), planner.exhausting(2)
    rules = Rules(tmp_path / "rules.json", planner.rules)
    settings = {
        "SANDBOX_RULES": rules.setting,
        "RETRY_DELAYS": "200ms",
        "MAX_ATTEMPTS": "2",
        "LOG_LEVEL": "DEBUG",
    }
    publisher = Publisher(amqp_url)
    async with connect(amqp_url) as client:
        async with worker(amqp_url, tmp_path, daemon_output, **settings) as daemon:
            await daemon.ready()
            for path in ("/healthz", "/livez", "/readyz"):
                schema("health").validate(json.loads((await daemon.get(path))[1]))
            await publisher.publish([*good, *bad, refused, failing, exhausting, good[0]])
            await sent(daemon, len(good) + 1)
            await eventually(lambda: _lie_there(client, len(bad) + 2), "all dead letters")
            await daemon.reaches('worker_duplicates_suppressed_total{kind="sent_before"}', 1)
            assert await daemon.stop() == 0
        lines = [json.loads(line) for line in daemon.printed.splitlines()]
        letters = [letter.headers for letter in await client.drain(DEAD_LETTERS)]
    for line in lines:
        schema("log-line").validate(line)
    assert {line["outcome"] for line in lines if "outcome" in line} == OUTCOMES_LOGGED
    copied = [headers for headers in letters if "x-error-type" in headers]
    assert len(copied) >= 2
    for headers in copied:
        schema("dead-letter-headers").validate(headers)
    assert all("x-death" in headers for headers in letters if headers not in copied)


async def _lie_there(client: Client, count: int) -> bool:
    assert await client.count(DEAD_LETTERS) == count
    return True
