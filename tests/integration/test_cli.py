"""The commands that talk to RabbitMQ."""

import json
import os
import pty
import subprocess
import sys
from asyncio import to_thread
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from typer.testing import CliRunner

from tests.support.amqp import DEAD_LETTERS, EXCHANGE, ROUTING_KEY, WORK_QUEUE, connect, envelope
from whatsapp_worker.cli import app
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.store import SqliteLedger

KEY = "6f1c9a52" * 8


async def command(*arguments: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
    """Run a command; return exit code, stdout and stderr."""
    result = await to_thread(CliRunner().invoke, app, arguments, input=stdin, env=env)
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
async def broker(amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A virtual host with exchange, work queue and dead-letter queue; commands find it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RABBITMQ_URL", amqp_url)
    monkeypatch.setenv("WHATSAPP_SESSION_PATH", str(tmp_path))
    async with connect(amqp_url) as client, client.channel() as channel:
        exchange = await channel.declare_exchange(EXCHANGE, durable=True)
        dead = await channel.declare_exchange("woragis.dlx", durable=True)
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": "woragis.dlx",
            "x-dead-letter-routing-key": DEAD_LETTERS,
        }
        work = await channel.declare_queue(WORK_QUEUE, durable=True, arguments=arguments)
        await work.bind(exchange, ROUTING_KEY)
        letters = await channel.declare_queue(DEAD_LETTERS, durable=True)
        await letters.bind(dead, DEAD_LETTERS)
    return amqp_url


async def put(amqp_url: str, reason: str, **more: object) -> None:
    """Put a dead letter into its queue, as the worker does."""
    failed_at = "2026-01-01T00:00:00+00:00"
    headers = {"x-error-type": reason, "x-job-key": KEY, "x-failed-at": failed_at, **more}
    async with connect(amqp_url) as client:
        await client.publish(
            envelope(),
            exchange="",
            routing_key=DEAD_LETTERS,
            headers=headers,
            message_id=f"m-{reason}",
        )


async def count(amqp_url: str, queue: str) -> int | None:
    async with connect(amqp_url) as client:
        return await client.count(queue)


# send --------------------------------------------------------------------------------------------


async def test_a_message_is_published_persistently_with_an_id(broker: str) -> None:
    arguments = ["--to", "+5511999999999", "--text", "I'm here", "--idempotency-key", "k"]
    code, out, err = await command("send", *arguments)
    assert (code, err) == (0, "1 published, 0 failed.\n")
    async with connect(broker) as client:
        [message] = await client.drain(WORK_QUEUE)
    assert message.message_id == out.strip()
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.content_type == "application/json"
    sent = json.loads(message.body)
    assert (sent["text_message"], sent["destination"]) == ("I'm here", "+5511999999999")
    assert sent["idempotency_key"] == "k"


async def test_a_file_is_published_line_by_line_and_its_bad_lines_are_told(broker: str) -> None:
    good = [json.dumps(envelope(f"number {number}")) for number in range(20)]
    Path("messages.jsonl").write_text("\n".join([*good[:10], "{oops", *good[10:]]))
    code, out, err = await command("send", "--file", "messages.jsonl", "--json")
    assert code == 1
    report = json.loads(out)
    assert (report["published"], report["failed"]) == (20, 1)
    assert len(set(report["message_ids"])) == 20
    assert err.startswith("line 11: malformed")
    async with connect(broker) as client:
        assert [m.body.decode() for m in await client.drain(WORK_QUEUE)] == good


async def test_unchecked_lines_from_stdin_arrive_as_they_are(broker: str) -> None:
    code, _, _ = await command("send", "--file", "-", "--no-check", stdin="{oops\nplain\n")
    assert code == 0
    async with connect(broker) as client:
        assert [m.body for m in await client.drain(WORK_QUEUE)] == [b"{oops", b"plain"]


async def test_a_dry_run_publishes_nothing(broker: str) -> None:
    code, _, _ = await command("send", "--to", "+5511999999999", "--text", "x", "--dry-run")
    assert code == 0
    assert await count(broker, WORK_QUEUE) == 0


async def test_a_message_that_no_queue_takes_is_an_error_that_says_what_to_do(broker: str) -> None:
    code, out, err = await command(
        "send", "--to", "+5511999999999", "--text", "x", WHATSAPP_ROUTING_KEY="elsewhere"
    )
    assert (code, out) == (os.EX_CONFIG, "")
    assert "'elsewhere'" in err
    assert "whatsapp-worker check" in err


# check -------------------------------------------------------------------------------------------


async def test_check_lists_what_it_found(broker: str) -> None:
    code, out, err = await command("check", WHATSAPP_SENDER="sandbox")
    assert code == 0
    assert err.startswith("warning: WHATSAPP_SENDER: is sandbox")
    assert f"ok     exchange {EXCHANGE}" in out
    code, out, _ = await command("check", "--json")
    assert {finding["ok"] for finding in json.loads(out)} == {True}


async def test_check_says_how_to_mend_what_is_missing(broker: str) -> None:
    code, out, _ = await command(
        "check", WHATSAPP_TOPOLOGY="verify", WHATSAPP_QUEUE_NAME="not.there"
    )
    assert code == 1
    assert "WRONG  queue not.there" in out
    assert "fix: " in out


async def test_check_without_a_broker_exits_with_69() -> None:
    code, out, _ = await command("check", RABBITMQ_URL="amqp://u:hunter2-secret@127.0.0.1:1/v")
    assert code == os.EX_UNAVAILABLE
    assert out.startswith("WRONG  connection: ")
    assert "hunter2" not in out


# dlq ---------------------------------------------------------------------------------------------


async def test_dead_letters_are_listed_and_stay(broker: str) -> None:
    await put(broker, "throttled", **{"x-attempts": 6})
    await put(broker, "network")
    for _ in range(2):
        code, out, _ = await command("dlq", "list", "--json")
        listed = json.loads(out)
        assert (code, [each["error_type"] for each in listed]) == (0, ["throttled", "network"])
        assert (listed[0]["attempts"], listed[0]["job_key"]) == (6, KEY)
    code, out, _ = await command("dlq", "list", "--reason", "network", "--older-than", "1d")
    assert (code, out.count("m-network"), out.count("m-throttled")) == (0, 1, 0)


async def test_a_letter_that_rabbitmq_moved_is_read_again_for_its_reason(broker: str) -> None:
    async with connect(broker) as client:
        await client.publish(b"{oops", exchange="", routing_key=DEAD_LETTERS)
    code, out, _ = await command("dlq", "list", "--reason", "malformed", "--json")
    assert (code, [each["error_type"] for each in json.loads(out)]) == (0, ["malformed"])


async def test_a_dead_letter_is_shown_discreetly(broker: str) -> None:
    await put(broker, "throttled")
    code, out, _ = await command("dlq", "show", "--key", KEY[:8])
    hidden = envelope()
    assert code == 0
    assert str(hidden["text_message"]) not in out
    assert str(hidden["destination"]) not in out
    code, out, _ = await command("dlq", "show", "--key", "m-throttled", "--reveal", "--json")
    assert json.loads(json.loads(out)[0]["body"]) == hidden
    code, out, err = await command("dlq", "show", "--key", "m-other")
    assert (code, out, err) == (1, "", "Nothing matches.\n")


async def test_chosen_dead_letters_are_replayed_and_the_rest_stays(broker: str) -> None:
    for reason in ("throttled", "network", "throttled"):
        await put(broker, reason)
    chosen = ["dlq", "replay", "--reason", "throttled"]
    code, _, err = await command(*chosen, "--dry-run")
    assert (code, err.splitlines()[-1]) == (0, "2 would be replayed, 0 refused.")
    assert await count(broker, DEAD_LETTERS) == 3
    code, out, _ = await command(*chosen, "--limit", "1", "--json")
    assert (code, json.loads(out)["replayed"]) == (0, 1)
    code, _, err = await command(*chosen)
    assert (code, err.splitlines()[-1]) == (0, "1 replayed, 0 refused.")
    assert (await count(broker, DEAD_LETTERS), await count(broker, WORK_QUEUE)) == (1, 2)


async def test_what_the_ledger_says_was_sent_is_replayed_only_by_force(
    broker: str, tmp_path: Path
) -> None:
    await sent(tmp_path, KEY)
    await put(broker, "throttled")
    code, _, err = await command("dlq", "replay")
    assert code == 1
    assert err.splitlines() == [
        "m-throttled: it was sent, says the ledger (--force replays it all the same)",
        "0 replayed, 1 refused.",
    ]
    assert await count(broker, WORK_QUEUE) == 0
    code, _, err = await command("dlq", "replay", "--force")
    assert (code, err) == (0, "1 replayed, 0 refused.\n")
    async with connect(broker) as client:
        [message] = await client.drain(WORK_QUEUE)
    # Under its old key the worker would take it for sent, and drop it.
    forced = message.headers["x-job-key"]
    assert isinstance(forced, str)
    assert len(bytes.fromhex(forced)) == 32
    assert forced != KEY


async def test_a_broken_ledger_refuses_until_forced(broker: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, but long enough to be taken for one" * 30)
    await put(broker, "throttled")
    code, _, err = await command("dlq", "replay")
    assert code == 1
    assert "ledger.db can not be read" in err
    assert (await command("dlq", "replay", "--force"))[0] == 0


async def test_letters_without_a_key_are_replayed_whatever_the_ledger_holds(
    broker: str, tmp_path: Path
) -> None:
    await sent(tmp_path, KEY)
    await put(broker, "throttled", **{"x-job-key": "none"})
    assert (await command("dlq", "replay"))[0] == 0


async def test_dropping_asks_and_does_not_ask_a_script(broker: str) -> None:
    await put(broker, "throttled")
    code, _, err = await command("dlq", "drop")
    assert code == 2
    assert "--yes" in err
    code, _, err = await command("dlq", "drop", "--dry-run")
    assert (code, err) == (0, "1 would be dropped, 0 refused.\n")
    assert await count(broker, DEAD_LETTERS) == 1
    code, _, err = await command("dlq", "drop", "--yes")
    assert (code, err) == (0, "1 dropped, 0 refused.\n")
    assert await count(broker, DEAD_LETTERS) == 0
    code, _, err = await command("dlq", "drop")
    assert (code, err) == (0, "0 dropped, 0 refused.\n")


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("y\n", 0)])
async def test_a_person_may_change_their_mind(broker: str, answer: str, left: int) -> None:
    await put(broker, "throttled")
    await to_thread(_drop_on_a_terminal, answer, os.environ)
    assert await count(broker, DEAD_LETTERS) == left


def _drop_on_a_terminal(answer: str, env: Mapping[str, str]) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "whatsapp_worker", "dlq", "drop"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
    ) as process:
        os.write(controller, answer.encode())
        output, _ = process.communicate(timeout=50)
    os.close(controller)
    os.close(terminal)
    assert b"Delete 1 dead letters for good?" in output


async def sent(directory: Path, key: str) -> None:
    """Make a ledger that holds a key as sent."""
    ledger = SqliteLedger(directory, 1, lambda *_: None)
    await ledger.open()
    delivery = Delivery(b"", job_key=key)
    message = WhatsAppEnvelope.model_validate(envelope())
    async with ledger.claim(delivery, message) as claim:
        await ledger.sending(claim.job)
        await ledger.sent(claim.job, "3EB0")
    await ledger.close()
