"""Nothing that the daemons of this run left behind shows anybody's number, text or password."""

from pathlib import Path

import pytest

from tests.integration.campaign import (
    Publisher,
    Rules,
    dead_letters,
    nothing_waits,
    seeded,
    texts_of,
    worker,
)
from tests.integration.messages import Planner
from tests.integration.reckoning import reckon
from tests.support.amqp import PHONE, connect
from tests.support.eventually import eventually
from tests.support.privacy import TOKEN, leaks
from whatsapp_worker.demo.find import Node


@pytest.mark.parametrize(
    ("kind", "sample"),
    [
        ("a number with a plus", f'"to": "{PHONE}"'),
        ("a number with a plus", "sending to +5511999999999 failed"),
        ("a number of the tests, without", f"jid={PHONE[1:]} offline"),
        ("a number as it was written", "destination '+1 (555) 212-3456'"),
        ("a WhatsApp address", "15550100999@s.whatsapp.net"),
        ("a WhatsApp address", "15550100999:7@s.whatsapp.net"),
        ("a text of the tests", f'preview="{TOKEN}0123456789ab I..."'),
        ("an address with a password", "amqp://somebody:pass%20word@127.0.0.1/vhost"),
        ("a password of the tests", "password 'secret-4711' refused"),
        ("a pairing code", "qr 2@aGVsbG8gd29ybGQhIQ==,x,y"),
    ],
)
def test_the_search_finds_what_it_looks_for(kind: str, sample: str) -> None:
    assert kind in leaks(f'{{"message": "something {sample}"}}')


@pytest.mark.parametrize(
    "sample",
    [
        '{"timestamp": "2026-11-21T04:45:53.049Z", "recipient": "***9999", "user_id": '
        '"0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11", "trace_id": "15550100999a45de15550100999a45de"}',
        "amqp://127.0.0.1:5672/woragis and amqp://***@127.0.0.1:5672/woragis",
        "('15550100999522fe56b7c56ac5e048fe1e7fd867', 'SENT', 1795236353.0350773)",
        "2026-11-21T04:45:53+00:00 ***@s.whatsapp.net process_start_time_seconds 1.79523e+09",
    ],
)
def test_the_search_takes_ordinary_output_for_what_it_is(sample: str) -> None:
    assert leaks(sample) == {}


@pytest.mark.last
@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_nothing_the_daemons_of_this_run_left_behind_is_private(
    broker_node: Node,
    amqp_url: str,
    tmp_path: Path,
    daemon_output: Path,
    request: pytest.FixtureRequest,
) -> None:
    await _talkative_daemon(amqp_url, tmp_path, daemon_output)
    files = {path.name: path.read_text(errors="replace") for path in daemon_output.iterdir()}
    kinds = {name.partition("-")[0] for name, text in files.items() if text}
    assert kinds >= {"daemon", "metrics", "health", "ledger", "letters", "headers"}
    tests_with_daemons = [
        item
        for item in request.session.items
        if "daemon_output" in getattr(item, "fixturenames", ())
    ]
    assert sum(name.startswith("daemon-") for name in files) >= len(tests_with_daemons)
    found = {name: leaks(text) for name, text in files.items()}
    found |= {
        f"{name} (password)": {"the broker's password": ""}
        for name, text in files.items()
        if broker_node.login.password in text
    }
    assert {name: what for name, what in found.items() if what} == {}


async def _talkative_daemon(amqp_url: str, directory: Path, printed: Path) -> None:
    """One more daemon, which says all it can say, about messages of every kind."""
    planner = Planner(seeded())
    planned = planner.mixed(150, max_attempts=3)
    rules = Rules(directory / "rules.json", planner.rules)
    settings = {
        "SANDBOX_RULES": rules.setting,
        "RETRY_DELAYS": "100ms",
        "MAX_ATTEMPTS": "3",
        "ENV": "development",
        "LOG_LEVEL": "DEBUG",
    }
    publisher = Publisher(amqp_url)
    async with (
        worker(amqp_url, directory, printed, **settings) as daemon,
        connect(amqp_url) as client,
    ):
        await daemon.ready()
        await publisher.publish(planned)
        jobs = {each.job: each for each in planned}.values()
        await eventually(
            lambda: len(texts_of(daemon)) == sum(each.sendable for each in jobs), "all sent", 30
        )
        await nothing_waits(client, directory, settings["RETRY_DELAYS"])
        assert await daemon.stop() == 0
    letters = await dead_letters(amqp_url, printed)
    assert reckon(publisher.confirmed, texts_of(daemon), letters).nothing_lost()
