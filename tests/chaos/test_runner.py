"""The campaign itself: what breaks the promise is found, told and kept."""

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.chaos import report
from tests.chaos.__main__ import main
from tests.chaos.arena import Arena, Figure, Verdict, percentile
from tests.chaos.runner import Result, Run, Runner, chosen
from tests.chaos.scenario import BOTH, Kind, Scenario, all_scenarios
from tests.integration.campaign import Publisher, declare_as_go_worker
from tests.integration.messages import Planner
from tests.integration.reckoning import LedgerFile, Reckoning
from tests.support.amqp import EXCHANGE, WORK_QUEUE, connect

GOOD = Verdict(
    attempted=9, confirmed=9, sent=8, twice=0, doubted=0, dead=1, parked=0,
    waiting=0, lost=0, unexplained=0, unexpected=0,
)  # fmt: skip


async def nothing(_: Arena) -> None:
    """A scenario in which nothing happens."""


def made(name: str, run: Callable[[Arena], Awaitable[None]] = nothing, **given: object) -> Scenario:
    plain = Scenario(name, "shows nothing", run, BOTH, 10, 5, own_node=False, alone=False)
    return replace(plain, **given)  # type: ignore[arg-type]  # Named after its fields.


# The checker finds what it is there for ---------------------------------------------------------


async def a_thief_takes_messages(arena: Arena) -> None:
    arena.rules.set(offline=True)
    async with arena.worker() as daemon, connect(arena.url) as client:
        await daemon.says("paused (whatsapp)")
        await arena.publisher.publish([arena.planner.good() for _ in range(5)])
        taken = await client.drain(WORK_QUEUE)
        assert taken, "there is something to take"
        arena.rules.set()
        await arena.finish(daemon, within=5)


async def a_recipient_reads_twice(arena: Arena) -> None:
    async with arena.worker() as daemon:
        await arena.publisher.publish([arena.planner.good() for _ in range(5)])
        await daemon.has_sent(5)
        with daemon.outbox.open("a") as outbox:
            outbox.write(daemon.outbox.read_text().splitlines(keepends=True)[0])
        await arena.finish(daemon)


async def it_takes_too_long(arena: Arena) -> None:
    async with arena.worker() as daemon:
        await arena.publisher.publish([arena.planner.good()])
        await arena.finish(daemon)
    arena.measured("patience", 2.0, "s", at_most=1.0)


@pytest.fixture
def evidence() -> Iterator[list[Path]]:
    """Directories that failing runs leave behind, deleted after the test."""
    left: list[Path] = []
    yield left
    for directory in left:
        shutil.rmtree(directory)


@pytest.mark.timeout(120)
async def test_a_loss_a_double_and_a_limit_that_is_not_kept_fail_with_their_evidence(
    evidence: list[Path],
) -> None:
    runs = [
        Run(made(act.__name__, act), Kind.CLASSIC, seed=1)  # A thief: only classic lets him.
        for act in (a_thief_takes_messages, a_recipient_reads_twice, it_takes_too_long)
    ]
    results = await Runner(1.0, 2, True, lambda _: None, lambda _: None).run(runs)
    evidence += [result.evidence for result in results if result.evidence]
    stolen, doubled, slow = results
    assert len(evidence) == 3
    assert stolen.verdict is not None
    assert stolen.verdict.lost >= 1
    assert doubled.verdict is not None
    assert (doubled.verdict.lost, doubled.verdict.unexplained) == (0, 1)
    assert slow.verdict is not None
    assert slow.verdict.holds
    assert slow.problems == ("patience: 2 s (at most 1)  TOO MUCH",)
    assert "seed 1" in (evidence[0] / "timeline.txt").read_text()
    assert (evidence[0] / "confirmed.tsv").read_text().count("\n") == 5


# Doubles and their excuses -----------------------------------------------------------------------


def reckoning(surplus: dict[str, int]) -> Reckoning:
    none: Counter[tuple[bytes, str]] = Counter()
    return Reckoning(Counter(), Counter(surplus), none, none, none, frozenset(), 0, 0, 0)


@pytest.mark.parametrize(
    ("surplus", "doubts", "unexplained"),
    [({}, 0, 0), ({"a": 1}, 1, 0), ({"a": 1}, 0, 1), ({"a": 2, "b": 1}, 2, 1)],
)
def test_so_many_nameless_doubles_are_excused_as_nameless_sends_were_in_doubt(
    surplus: dict[str, int], doubts: int, unexplained: int
) -> None:
    kept = LedgerFile({f"row {n}": ("SENT", 1, True) for n in range(doubts)}, b"secret")
    assert reckoning(surplus).unexplained([], kept).total() == unexplained


# Choosing and telling ----------------------------------------------------------------------------


def test_a_part_of_the_campaign_keeps_to_its_time_and_is_the_same_for_the_same_seed() -> None:
    scenarios = [made(f"fault-{number}", quick=number) for number in range(1, 20)]
    runs = chosen(scenarios, tuple(Kind), seed=7, within=60)
    assert 50 < sum(run.scenario.quick for run in runs) <= 60
    assert runs == chosen(scenarios, tuple(Kind), seed=7, within=60)
    assert runs != chosen(scenarios, tuple(Kind), seed=8, within=60)
    assert len(chosen(scenarios, (Kind.CLASSIC,), seed=7, within=None)) == 19


def test_every_fault_is_listed_and_there_are_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--list"])
    assert main() == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in all_scenarios())
    assert len(all_scenarios()) >= 20


def test_a_wrong_name_is_answered_with_those_like_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "connection-rest"])
    assert main() == 2
    assert "connection-reset" in capsys.readouterr().err


def test_the_figures_take_the_place_of_the_last_ones(tmp_path: Path) -> None:
    document = tmp_path / "RELIABILITY.md"
    begin, end = "<!-- figures of the last run -->\n", "<!-- end of figures -->\n"
    document.write_text(f"before\n{begin}old\n{end}after\n")
    figure = Figure("time to the next send", 0.034, "s", at_most=0.1)
    run = Run(made("black-hole"), Kind.QUORUM, seed=1)
    result = Result(run, GOOD, (figure,), (), 12.0, None)
    report.write_into(document, report.markdown([result], 7, 60, "3.10.8"))
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith(f"{end}after\n")
    assert "| `black-hole` | quorum | 9 | 9 | 8 | 0 | 0 | 1 | 0 | 0 | 12 |" in text
    assert "time to the next send: 0.034 s (at most 0.1)" in text


@pytest.mark.parametrize("broken", ["lost", "unexplained", "unexpected", "waiting"])
def test_the_promise_is_broken_by_any_of_them(broken: str) -> None:
    assert GOOD.holds
    assert not replace(GOOD, **{broken: 1}).holds


def test_a_percentile_is_one_of_the_values() -> None:
    values = [0.3, 0.1, 0.2, 0.4]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (0.3, 0.4)


@pytest.mark.integration
async def test_what_reached_no_queue_is_not_called_confirmed(amqp_url: str) -> None:
    """RabbitMQ confirms it, and tells of the return; of one without an id aiormq tells nobody."""
    planner, publisher = Planner(Random(1)), Publisher(amqp_url)
    async with connect(amqp_url) as client, client.channel() as channel:
        await channel.declare_exchange(EXCHANGE, "direct", durable=True)
        await publisher.publish([planner.keyless()])
        await publisher.publish([planner.good(), planner.keyless()])
        assert (len(publisher.confirmed), len(publisher.unknown)) == (0, 3)
        await declare_as_go_worker(client)
        await publisher.publish([planner.keyless()])
    assert len(publisher.confirmed) == 1
