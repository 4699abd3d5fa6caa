"""What the demo judges and prints; tests/integration/test_demo.py plays it."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from whatsapp_worker.amqp.dead_letters import Entry
from whatsapp_worker.demo.find import find_broker, install_server
from whatsapp_worker.demo.login import Login
from whatsapp_worker.demo.rabbitmq import BrokerError, definitions
from whatsapp_worker.demo.report import Report
from whatsapp_worker.demo.samples import moved, samples
from whatsapp_worker.demo.stories import STORIES, Fate, Observed, destination_of, disappointments

SUCCESS = 'worker_jobs_processed_total{status="success",worker="whatsapp-worker"}'

ALL_CAME_TRUE = Observed(
    read=[
        ("+12025550101", "Hi Ana, I'm on my way with order #12: *two* minutes! 🛵"),
        ("+12025550102", "Your code is 4711."),
        ("+12025550103", "Third time lucky."),
    ],
    dead={
        "no international number": "invalid_phone",
        "script injection": "content_policy",
        "half a JSON object": "malformed",
        "recipient is not on WhatsApp": "not_on_whatsapp",
    },
    metrics={
        SUCCESS: 3,
        'worker_jobs_processed_total{status="duplicate",worker="whatsapp-worker"}': 1,
        'worker_jobs_processed_total{status="failed",worker="whatsapp-worker"}': 4,
        'worker_jobs_retried_total{worker="whatsapp-worker"}': 2,
        "queue_depth": 0,
    },
)


def test_the_stories_show_every_fate() -> None:
    assert {story.fate for story in STORIES} == set(Fate)
    assert len({story.name for story in STORIES}) == len(STORIES)


def test_no_disappointment_when_every_fate_came_true() -> None:
    assert disappointments(ALL_CAME_TRUE) == []


@pytest.mark.parametrize(
    ("observed", "says"),
    [
        (replace(ALL_CAME_TRUE, read=ALL_CAME_TRUE.read[:2]), "not exactly once"),
        (replace(ALL_CAME_TRUE, read=[*ALL_CAME_TRUE.read, ALL_CAME_TRUE.read[1]]), "Your code"),
        (
            replace(ALL_CAME_TRUE, read=[*ALL_CAME_TRUE.read, ("+1", "Who?")]),
            "should not have been",
        ),
        (replace(ALL_CAME_TRUE, dead={}), "is not in the dead-letter queue"),
        (
            replace(ALL_CAME_TRUE, dead={**ALL_CAME_TRUE.dead, "ordinary message": "internal"}),
            "should be sent, is internal",
        ),
        (
            replace(ALL_CAME_TRUE, metrics={**ALL_CAME_TRUE.metrics, SUCCESS: 2}),
            "moved by 2 instead of 3",
        ),
    ],
)
def test_names_every_fate_that_did_not_come_true(observed: Observed, says: str) -> None:
    assert says in "\n".join(disappointments(observed))


def test_reads_of_a_metrics_page_what_moved_and_only_ours() -> None:
    page = (
        "# TYPE worker_jobs counter\n"
        'worker_jobs_total{{status="success",kind="a"}} {jobs}\n'
        "# TYPE queue_depth gauge\nqueue_depth {depth}\n"
        "# TYPE process_cpu_seconds gauge\nprocess_cpu_seconds {jobs}\n"
        "# TYPE worker_job_seconds histogram\n"
        'worker_job_seconds_bucket{{le="+Inf"}} {jobs}\n'
        "worker_job_seconds_count {jobs}\nworker_job_seconds_sum {jobs}\n"
    )
    before, after = (samples(page.format(jobs=jobs, depth=4)) for jobs in (1, 3))
    assert moved(before, after) == {
        'worker_jobs_total{kind="a",status="success"}': 2,
        "worker_job_seconds_count": 2,
    }


def test_prints_square_brackets_and_long_rows_as_they_are() -> None:
    out = StringIO()
    report = Report(Console(file=out, width=40))
    report.read([("+12025550101", "[bold]not markup[/bold], and a text that is longer than 40")])
    report.dead("q.failed", [_entry("[red]")])
    assert "[bold]not markup[/bold], and a text that is longer than 40" in out.getvalue()
    assert "[red]" in out.getvalue()


def test_a_body_that_is_no_json_has_no_destination() -> None:
    assert [destination_of(each) for each in STORIES if each.name == "half a JSON object"] == [""]


def test_rabbitmq_url_wins_and_its_password_is_not_printed() -> None:
    url = "amqp://somebody:hunter2@broker.example/"
    with find_broker(pytest.fail, {"RABBITMQ_URL": url}) as broker:
        assert broker.url == url
        assert "hunter2" not in repr(broker)


def test_a_login_escapes_what_its_url_needs_and_does_not_print_its_password() -> None:
    login = Login(5673, user="a b", password="p/w@:", vhost="/")
    assert login.url == "amqp://a%20b:p%2Fw%40%3A@127.0.0.1:5673/%2F"
    assert "p/w" not in repr(login)


def test_definitions_let_the_user_into_every_virtual_host() -> None:
    made = json.loads(json.dumps(definitions(Login(1, user="u", password="p"), "a", "b")))
    assert [each["name"] for each in made["vhosts"]] == ["a", "b"]
    assert [(each["user"], each["vhost"]) for each in made["permissions"]] == [
        ("u", "a"),
        ("u", "b"),
    ]


class TestInstallServer:
    """`apt-get` is a script of ours here, which insists that no service may start."""

    @pytest.fixture
    def policy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path / "policy-rc.d"

    def write_apt_get(self, policy: Path, exit_code: str) -> Path:
        asked = policy.parent / "asked"
        script = policy.parent / "apt-get"
        script.write_text(
            f'#!/bin/sh\nls "{policy}" >/dev/null && echo "$@" >> "{asked}"\n'
            f'echo "E: package $4"\nexit {exit_code}\n'
        )
        script.chmod(0o755)
        return asked

    def test_keeps_its_service_off_and_takes_the_ban_back(self, policy: Path) -> None:
        asked = self.write_apt_get(policy, "0")
        install_server(policy)
        assert asked.read_text().count("install") == 2  # The word, and --no-install-recommends.
        assert not policy.exists()

    def test_leaves_a_ban_of_the_operators_in_place(self, policy: Path) -> None:
        self.write_apt_get(policy, "0")
        policy.write_text("theirs")
        install_server(policy)
        assert policy.read_text() == "theirs"

    def test_fetches_the_package_lists_only_if_needed_then_says_what_failed(
        self, policy: Path
    ) -> None:
        asked = self.write_apt_get(policy, "100")
        with pytest.raises(BrokerError, match="E: package"):
            install_server(policy)
        assert [line.split()[1] for line in asked.read_text().splitlines()] == [
            "install",
            "update",
            "install",
        ]
        assert not policy.exists()


def _entry(detail: str) -> Entry:
    return Entry(
        position=0,
        message_id="m",
        job_key=None,
        error_type="malformed",
        error_detail=detail,
        failed_at=None,
        first_seen=None,
        attempts=0,
        unknown_count=0,
        origin_queue=None,
        content_type=None,
        body=b"",
    )
