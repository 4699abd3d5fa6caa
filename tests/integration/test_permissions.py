"""The rights that OPERATIONS.md names are enough for the worker, and none of them is too much."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.campaign import Publisher, Rules, dead_letters, seeded, sent, worker
from tests.integration.messages import Planner
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node
from whatsapp_worker.demo.login import Login

DOCUMENT = (Path(__file__).parents[2] / "OPERATIONS.md").read_text()
ROW = re.compile(r"^\| (configure|write|read) \| `(\S+)` \|$", re.MULTILINE)
RIGHTS = {right: pattern.replace("\\|", "|") for right, pattern in ROW.findall(DOCUMENT)}
ADD_USER, SET_PERMISSIONS, DELETE_USER = (
    shlex.split(line) for line in re.findall(r"^rabbitmqctl (.*)$", DOCUMENT, re.MULTILINE)
)
NOTHING = "^$"


def run(node: Node, command: list[str], login: Login, rights: dict[str, str]) -> None:
    """Run a command of the document, with our names in the place of its own."""
    ours = {
        "whatsapp-worker": login.user,
        "whatsapp-worker-2": login.user,
        "woragis": login.vhost,
        "$PASSWORD": login.password,
        **{f"${right.upper()}": pattern for right, pattern in rights.items()},
    }
    node.ctl(*(ours.get(word, word) for word in command))


@contextmanager
def user_with(node: Node, vhost: str, rights: dict[str, str]) -> Iterator[str]:
    """A user with these rights alone; gives its AMQP URL."""
    login = replace(node.login, vhost=vhost, user=f"least-{uuid4().hex}", password=uuid4().hex)
    run(node, ADD_USER, login, rights)
    run(node, SET_PERMISSIONS, login, rights)
    yield login.url
    run(node, DELETE_USER, login, rights)


async def test_the_worker_needs_no_other_rights_than_the_documented(
    broker_node: Node, vhost: str, amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    planner = Planner(seeded())
    planned = [planner.good(), planner.failing(1), planner.refused(), planner.invalid("SQL")]
    rules = Rules(tmp_path / "rules.json", planner.rules)
    settings = {"SANDBOX_RULES": rules.setting, "RETRY_DELAYS": "100ms"}
    with user_with(broker_node, vhost, RIGHTS) as url:
        async with worker(url, tmp_path, daemon_output, **settings) as daemon:
            await daemon.ready()
            await Publisher(amqp_url).publish(planned)
            await sent(daemon, 2)
            await daemon.reaches('queue_dlq_size{queue_name="whatsapp.queue.failed"}', 2)
            assert await daemon.stop() == 0
        letters = await dead_letters(url, daemon_output)
    reasons = sorted(letter.error_type or "" for letter in letters)
    assert reasons == ["content_policy", "not_on_whatsapp"]


@pytest.mark.parametrize("missing", RIGHTS)
async def test_without_one_of_them_it_is_not_ready_and_says_why(
    missing: str, broker_node: Node, vhost: str, tmp_path: Path, daemon_output: Path
) -> None:
    with user_with(broker_node, vhost, {**RIGHTS, missing: NOTHING}) as url:
        await _is_told_what_it_may_not_do(url, tmp_path, daemon_output)


async def _is_told_what_it_may_not_do(url: str, directory: Path, printed: Path) -> None:
    async with worker(url, directory, printed) as daemon:
        await daemon.live()
        await eventually(lambda: tells_of_rights(daemon), "a word about rights", 30)
        assert await daemon.status("/readyz", 503)
        assert await daemon.stop() == 0


def tells_of_rights(daemon: RunningDaemon) -> bool:
    """Whether the log has RabbitMQ's own word about a missing right, or ours."""
    return "ACCESS_REFUSED" in daemon.printed or "permissions" in daemon.printed
