"""WhatsApp refuses for the moment: jobs wait on the retry ladder, and others go on."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from tests.chaos.arena import RULES_ARE_READ, Arena, now, percentile
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import sent
from tests.integration.messages import Planned
from tests.support.daemon import RunningDaemon
from whatsapp_worker.retry import JITTER

RATE = 70
"""Messages a second: so few that nothing is late because the worker is busy.  At prefetch 1 a
quorum queue gives it about 150 deliveries a second here, and a message takes 1.6 of them."""
RUNGS = (1, 3, 6)
FAILING = 0.3


@scenario(
    "30 % of 5,000 jobs fail for the moment, up to three times: each comes back in time",
    seconds=90,
    quick=27,
    kinds=(Kind.QUORUM,),  # The ladder is the same behind both.
    alone=True,
)
async def transient_failures(arena: Arena) -> None:
    planner, published_at = arena.planner, dict[str, float]()
    planned = [
        planner.failing(planner.random.randint(1, len(RUNGS)))
        if planner.random.random() < FAILING
        else planner.good()
        for _ in range(arena.times(5_000))
    ]
    arena.rules.add(planner.rules)
    arena.settings["RETRY_DELAYS"] = ",".join(f"{rung}s" for rung in RUNGS)
    async with arena.worker() as daemon:
        await asyncio.sleep(RULES_ARE_READ)
        over = asyncio.Event()

        def stream() -> Iterator[Planned]:
            for each in planned:
                published_at[each.text] = now()
                yield each
            over.set()

        await arena.publisher.pour(stream(), RATE, over)
        await sent(daemon, len(planned), within=300)  # Cheaper than `finish`: the gate is ours too.
        await arena.finish(daemon)
    sent_at = {
        entry["text"]: datetime.fromisoformat(entry["at"]).timestamp()
        for entry in daemon.outbox_entries()
    }
    waits = [sent_at[p.text] - published_at[p.text] for p in planned if not p.retries]
    # Longer ones would be those of messages that wait behind a job on its ladder.
    arena.measured("publish to first send, p99", percentile(waits, 0.99), "s", at_most=RUNGS[0])
    for rung, late in sorted(_lateness(daemon).items()):
        name = f"lateness after the rung of {rung} s ({len(late)} retries), p99"
        arena.measured(name, percentile(late, 0.99), "s", at_most=JITTER * rung + 1)


def _lateness(daemon: RunningDaemon) -> dict[int, list[float]]:
    """By rung, how long after its time each retry was through, as the log tells."""
    found = defaultdict[int, list[float]](list)
    due: dict[str, tuple[int, float]] = {}
    for line in daemon.printed.splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("event") != "job":
            continue
        moment = datetime.fromisoformat(told["timestamp"]).timestamp()
        if told["job_key"] in due:
            rung, expected = due.pop(told["job_key"])
            found[rung].append(moment - expected)
        if told["outcome"] == "retry":
            rung = RUNGS[min(told["attempt"], len(RUNGS)) - 1]
            due[told["job_key"]] = (rung, moment + told["retry_in_seconds"])
    assert not due, f"{len(due)} jobs never came back"
    return found
