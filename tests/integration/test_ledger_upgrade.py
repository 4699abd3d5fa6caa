"""A worker that finds the ledger of an older one."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import time

from tests.integration.campaign import Publisher, seeded, sent, texts_of, worker
from tests.integration.messages import Planned, Planner
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.store.database import FILE_NAME
from whatsapp_worker.store.macs import mac
from whatsapp_worker.store.schema import MIGRATIONS

JOBS = 60_000
"""So many that bringing them up to date takes longer than all else at the start."""
SECRET = bytes(range(32))


async def test_it_lives_while_a_long_ledger_is_brought_up_to_date_and_then_knows_what_was_sent(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    old, new = planner.good(), planner.good()
    (tmp_path / "session").mkdir(mode=0o700)
    _write_ledger_of_0_1_0(tmp_path / "session" / FILE_NAME, old)
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


def _write_ledger_of_0_1_0(path: Path, sent_before: Planned) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(f"PRAGMA synchronous = OFF; {MIGRATIONS[0]}")
        file.executemany(
            "INSERT INTO jobs VALUES (?, ?, 0, 'SENT', 0, 0, 'WA1', NULL, NULL, ?, ?, NULL)",
            _rows(sent_before),
        )
        file.execute("INSERT INTO secret VALUES (?)", (SECRET,))
        file.execute("PRAGMA user_version = 1")
        file.commit()


def _rows(sent_before: Planned) -> Iterator[tuple[str, bytes, float, float]]:
    now = time()
    for age in range(JOBS):
        yield os.urandom(32).hex(), os.urandom(32), now - age, now - age
    envelope = WhatsAppEnvelope.model_validate_json(sent_before.body)
    yield sent_before.ledger_key(SECRET), mac(SECRET, envelope.canonical()), now, now
