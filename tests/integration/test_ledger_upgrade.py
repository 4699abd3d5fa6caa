"""A worker that finds the ledger of an older one."""

import os
from collections.abc import Iterator
from pathlib import Path
from time import time

from tests.integration.campaign import Publisher, seeded, sent, texts_of, worker
from tests.integration.messages import Planned, Planner
from tests.support.ledger import write_ledger_of_0_1_0
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.store.database import Row
from whatsapp_worker.store.macs import mac

JOBS = 60_000
"""So many that bringing them up to date takes longer than all else at the start."""
SECRET = bytes(range(32))


async def test_it_lives_while_a_long_ledger_is_brought_up_to_date_and_then_knows_what_was_sent(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    old, new = planner.good(), planner.good()
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    write_ledger_of_0_1_0(session, SECRET, _rows(old))
    async with worker(amqp_url, tmp_path, daemon_output) as daemon:
        await daemon.live()
        code, health = await daemon.get("/readyz")
        assert (code, "it is being opened" in health) == (503, True)
        await daemon.says("bringing the ledger to a new form")
        await daemon.ready()
        await Publisher(amqp_url).publish([old, new])
        await sent(daemon, 1)
        await daemon.says("duplicate of a job dropped: it was sent before")
        assert await daemon.stop() == 0
    assert texts_of(daemon) == [new.text]


def _rows(sent_before: Planned) -> Iterator[Row]:
    now = time()
    for age in range(JOBS):
        yield _sent(os.urandom(32).hex(), os.urandom(32), now - age)
    envelope = WhatsAppEnvelope.model_validate_json(sent_before.body)
    yield _sent(sent_before.ledger_key(SECRET), mac(SECRET, envelope.canonical()), now)


def _sent(key: str, print_: bytes, at: float) -> Row:
    return Row(key, print_, False, "SENT", 0, 0, "WA1", None, None, at, at, None)
