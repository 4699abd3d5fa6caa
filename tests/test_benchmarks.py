"""The benchmarks' own arithmetic: turns, ratios, tables, what runner and contenders agree on."""

import json
from itertools import islice
from pathlib import Path
from statistics import median

import pytest

from benchmarks.compare import messages
from benchmarks.compare.aims import AIMS, Aim, verdicts
from benchmarks.compare.contenders import (
    BARE,
    CELERY_SOLO,
    CHECKING,
    CONTENDERS,
    FASTSTREAM,
    LEDGER_OFF,
    OURS,
    Contender,
)
from benchmarks.compare.messages import Packed
from benchmarks.compare.plan import (
    BACKLOG,
    CLASSIC,
    PACED,
    QUICK,
    QUORUM,
    WARM,
    Cell,
    Plan,
    rotated,
)
from benchmarks.compare.report import Setting, report, table
from benchmarks.compare.results import CPU, P50, P99, RATE, Results
from benchmarks.contenders.contract import Meter, Result, Task, clocked, delay, run_without_loop
from benchmarks.contenders.memory_ledger import MemoryLedger
from benchmarks.contenders.ours import settings_of
from benchmarks.contenders.work import check
from benchmarks.footprint_report import Held, Memory, Starts
from benchmarks.footprint_report import report as footprint_report
from benchmarks.measuring import Sample
from benchmarks.processes import Footprint
from benchmarks.scaling_report import More
from benchmarks.scaling_report import report as scaling_report
from tests.support.amqp import SOMEBODY
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import Rules, WhatsAppEnvelope, decode
from whatsapp_worker.errors import WorkerError
from whatsapp_worker.outcome import AlreadySent, Fresh
from whatsapp_worker.phone import PhoneCheck

CELL = Cell(CLASSIC, 10)
PACED_CELL = Cell(QUORUM, 10, 20)


def result(rate: float = 100.0, cpu: float = 1.0, delays: list[float] | None = None) -> Result:
    return Result(messages=100, seconds=100 / rate, cpu=cpu, rss=30.0, delays=delays or [])


def task(directory: Path, *, messages: int = 2, clocked: bool = False) -> Task:
    url = "amqp://guest:guest@127.0.0.1:1/"
    return Task(url, "bench.1", CLASSIC, 10, messages, directory, clocked)


# Turns --------------------------------------------------------------------------------------------


def test_everybody_has_each_place_once_when_there_are_as_many_rounds_as_contenders() -> None:
    rounds = [rotated("abcd", number) for number in range(4)]
    assert rounds[0] == list("abcd")
    assert rounds[1] == list("bcda")
    assert all(sorted(place) == list("abcd") for place in zip(*rounds, strict=True))


def test_turns_go_on_after_the_last_place() -> None:
    assert rotated("abcd", 6) == rotated("abcd", 2)


def test_the_full_plan_has_what_was_asked_for() -> None:
    assert BACKLOG.rounds >= 9
    wanted = {(kind, prefetch) for kind in (CLASSIC, QUORUM) for prefetch in (1, 10, 100)}
    assert {(cell.kind, cell.prefetch) for cell in BACKLOG.cells} == wanted
    assert {cell.pace for cell in PACED.cells} == {1, 20, 200}


def test_a_round_is_begun_only_if_it_will_end_in_time() -> None:
    plan = Plan(rounds=3, messages=1, cells=(CELL,), seconds=100.0)
    assert plan.another(0, 0.0)
    assert plan.another(1, 50.0)
    assert not plan.another(1, 51.0)
    assert not plan.another(3, 1.0)
    assert QUICK.seconds < 180


def test_whoever_cannot_be_measured_under_some_conditions_is_left_out_of_them() -> None:
    assert not CELERY_SOLO.fits(Cell(CLASSIC, 1))
    assert CELERY_SOLO.fits(CELL)
    assert BARE.fits(CELL)
    assert not BARE.fits(PACED_CELL)


def test_messages_at_a_pace_are_preceded_by_some_that_do_not_count() -> None:
    assert BACKLOG.count(CELL) == BACKLOG.messages
    assert PACED.count(PACED_CELL) == WARM + 200


# Ratios -------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_ratios_within_rounds_not_the_ratio_of_medians() -> None:
    results: Results[Cell] = Results()
    pairs = [(100.0, 50.0), (10.0, 9.0), (1000.0, 10.0)]
    for bare, ours in pairs:
        results.add(CELL, {BARE.name: result(bare), OURS.name: result(ours)})
    assert results.median(CELL, OURS.name, RATE) == pytest.approx(10.0)
    assert results.median(CELL, BARE.name, RATE) == pytest.approx(100.0)
    expected = median(ours / bare for bare, ours in pairs)
    assert results.ratio(CELL, OURS.name, BARE.name, RATE) == pytest.approx(expected)
    assert expected == pytest.approx(0.5)


def test_percentiles_leave_out_the_first_messages() -> None:
    delays = [60.0] * WARM + [number / 100 for number in range(101)]
    measured = result(delays=delays)
    assert P50.of(measured) == pytest.approx(0.5)
    assert P99.of(measured) == pytest.approx(0.99)


# Aims ---------------------------------------------------------------------------------------------


def test_of_rates_an_aim_wants_more_and_of_cost_less() -> None:
    rate, cpu = Aim(OURS, BARE, RATE, 0.8), Aim(OURS, BARE, CPU, 1.3)
    assert rate.met(0.8)
    assert not rate.met(0.79)
    assert cpu.met(1.3)
    assert not cpu.met(1.31)


def test_an_aim_is_judged_only_where_both_were_measured_and_it_applies() -> None:
    results: Results[Cell] = Results()
    results.add(Cell(CLASSIC, 1), {BARE.name: result(), OURS.name: result(cpu=2.0)})
    results.add(CELL, {BARE.name: result(), OURS.name: result(cpu=2.0)})
    (verdict,) = verdicts(results)
    assert (verdict.aim.quantity, verdict.cell, verdict.met) == (CPU, CELL, True)
    assert verdict.ratio == pytest.approx(2.0)


def test_aims_on_delays_are_for_messages_at_a_pace() -> None:
    results: Results[Cell] = Results()
    delays = [0.001] * 20
    results.add(PACED_CELL, {each.name: result(delays=delays) for each in (CHECKING, OURS)})
    assert {each.aim.quantity for each in verdicts(results)} == {P50, P99}


def test_every_aim_says_what_it_asks_for() -> None:
    assert len({aim.words for aim in AIMS}) == len(AIMS)
    assert Aim(OURS, BARE, CPU, 1.3).words == (
        "whatsapp-worker: CPU per message at most 1.30 x bare aio-pika"
    )


# The report ---------------------------------------------------------------------------------------


def test_a_table_has_a_column_for_each_head() -> None:
    assert list(table(("who", "many"), [("a", "1"), ("b", "2")], words=1)) == [
        "| who | many |",
        "|---|---:|",
        "| a | 1 |",
        "| b | 2 |",
    ]


def test_the_report_has_rates_delays_and_aims() -> None:
    results: Results[Cell] = Results()
    for rate in (200.0, 300.0):
        measured = {BARE.name: result(2 * rate, 0.5), LEDGER_OFF.name: result(rate, 0.7)}
        results.add(CELL, measured)
    delays = [0.002] * 20
    results.add(
        PACED_CELL, {CHECKING.name: result(delays=delays), OURS.name: result(delays=delays)}
    )
    setting = Setting("today", "a machine, 2 cores", "everything 1.0", [0.5, 1.5], 3000)
    text = report(setting, results)
    assert "load 0.5 to 1.5, ours included." in text
    assert "A backlog of 3000 messages, 2 interleaved round(s)." in text
    assert "| 10 | whatsapp-worker, ledger in memory | 250 | 0.50 | 7000 | 1.40 | 30.0 |" in text
    assert "| quorum 10, 20/s | whatsapp-worker | 2.00 | 1.00 | 2.00 | 2.00 | 1.00 |" in text
    assert "CPU per message at most 1.30 x bare aio-pika | classic 10 | 1.40 | **no** |" in text
    assert "delay p50 at most 1.10 x" in text


# What runner and contenders agree on --------------------------------------------------------------


def test_a_task_is_read_as_it_was_written(tmp_path: Path) -> None:
    for given in (task(tmp_path), task(tmp_path, clocked=True)):
        assert Task.read(given.environment()) == given


def test_a_result_is_read_as_it_was_told() -> None:
    told = result(delays=[0.25])
    assert Result.parse(told.line()) == told
    assert json.loads(told.line())["rate"] == told.rate


def test_a_meter_tells_once_when_the_last_message_is_done(tmp_path: Path) -> None:
    told: list[str] = []
    meter = Meter(task(tmp_path), told.append)
    meter.begin()
    meter.done()
    assert told == []
    meter.begin()
    meter.sending("not clocked: no delay")
    meter.done()
    (line,) = told
    measured = Result.parse(line)
    assert measured.messages == 2
    assert measured.seconds > 0
    assert measured.rss > 1
    assert measured.delays == []
    meter.done()
    assert len(told) == 1


def test_the_delay_of_a_clocked_text_is_short(tmp_path: Path) -> None:
    assert 0 < delay(clocked("On my way")) < 30
    told: list[str] = []
    meter = Meter(task(tmp_path, messages=1, clocked=True), told.append)
    meter.begin()
    meter.sending(clocked("On my way"))
    meter.done()
    assert len(Result.parse(told[0]).delays) == 1


def test_work_that_waits_is_not_driven_without_a_loop() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append("done")

    run_without_loop(work())
    assert seen == ["done"]


# Messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamped", [False, True])
def test_every_message_passes_the_strictest_phone_check_and_differs(stamped: bool) -> None:
    fields = list(islice(messages.contents(stamped=stamped), 50))
    rules = Rules(phone_check=PhoneCheck.VALID)
    envelopes = [decode(Delivery(json.dumps(each).encode()), rules) for each in fields]
    assert len({each.destination for each in envelopes}) == 50
    assert [check(each).destination for each in fields] == [e.destination for e in envelopes]


@pytest.mark.parametrize(
    "change", [{"user_id": "x"}, {"text_message": "\0"}, {"destination": "+5511000000000"}]
)
def test_peers_refuse_what_the_worker_refuses(change: dict[str, str]) -> None:
    fields = next(messages.contents()) | change
    with pytest.raises((ValueError, WorkerError)):
        check(fields)


def found_in(packed: Packed) -> list[object]:
    """Whatever a framework's task would be called with."""
    value = json.loads(packed.body)
    return list(value[0]) if isinstance(value, list) else list(value.get("args", [value]))


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda each: each.name)
def test_every_wrapping_holds_the_same_content_and_a_name_of_its_own(
    contender: Contender,
) -> None:
    fields = next(messages.contents())
    one, other = (contender.pack(fields, "bench.1") for _ in range(2))
    assert found_in(one) == [fields]
    assert one.message_id != other.message_id


def test_contenders_differ_in_name_and_are_programs_that_exist() -> None:
    assert len({each.name for each in CONTENDERS}) == len(CONTENDERS)
    directory = Path(messages.__file__).parent.parent / "contenders"
    assert all((directory / f"{each.module}.py").exists() for each in CONTENDERS)
    assert FASTSTREAM.command == ("-m", "benchmarks.contenders.peer_faststream")
    assert OURS.command == ("-m", "benchmarks.contenders.ours", "ledger")


# The footprint ------------------------------------------------------------------------------------


def sample(jobs: int, rss: float) -> Sample:
    return Sample(jobs, Footprint(rss, threads=5, descriptors=15))


def test_the_report_on_the_footprint_has_starts_memory_and_growth() -> None:
    starts = Starts(
        python=[0.02, 0.04, 0.03],
        libraries=[1.0, 1.0, 1.0],
        ready=[1.5, 1.1, 1.2],
        healthcheck=[0.06, 0.08, 0.09],
    )
    held = [Held("neonize, connected", 90.0), Held("daemon, connected", 107.5)]
    samples = [sample(0, 60.0), sample(150, 66.0), sample(1000, 67.5)]
    text = footprint_report(starts, Memory(held, samples), load=1.0)
    assert "| `whatsapp-worker healthcheck` | 0.080 | `python -c pass` | 3.00 |" in text
    assert "| `whatsapp-worker run` until it consumes | 1.200 | importing | 1.20 |" in text
    assert "| daemon, connected | 107.5 | +17.5 |" in text
    assert "+1.5 MB since a tenth of them was done" in text
    assert "| 1000 | 67.5 | 5 | 15 |" in text


# Ours ---------------------------------------------------------------------------------------------


def test_our_daemon_checks_numbers_as_the_peers_do(tmp_path: Path) -> None:
    settings = settings_of(task(tmp_path))
    assert settings.phone_check is PhoneCheck.VALID
    assert settings.whatsapp_prefetch_count == 10
    assert settings.whatsapp_send_interval == 0


async def test_the_ledger_in_memory_knows_what_was_sent() -> None:
    ledger = MemoryLedger()
    fields = next(messages.contents()) | {"user_id": str(SOMEBODY)}
    envelope = WhatsAppEnvelope.model_validate(fields)
    delivery = Delivery(b"", message_id="one")
    async with ledger.claim(delivery, envelope) as claim:
        assert isinstance(claim, Fresh)
        await ledger.sending(claim.job)
        await ledger.sent(claim.job, "WA1")
    async with ledger.claim(delivery, envelope) as claim:
        assert isinstance(claim, AlreadySent)


def test_the_report_on_more_of_everything_compares_within_each_round() -> None:
    results: Results[More] = Results()
    for slow in (1.0, 10.0, 2.0):  # Of a machine: it slows down all that is measured in a round.
        for more in (More.MESSAGES, More.JOBS, More.PREFETCH):
            results.add(more, {"1,000": result(cpu=slow), "5,000": result(cpu=1.2 * slow)})
        delays = [0.9] * WARM + [0.002] * 99 + [0.02]
        results.add(More.EXPIRED, {"0": result(delays=delays), "500": result(delays=delays)})
    text = scaling_report(results, 100, [0.5, 1.5])
    assert text.count("| 5,000 | 24000 | 1.20 |") == 3
    assert "At most 1.10 was aimed at: **missed**." in text
    assert "At most 1.25 was aimed at: reached." in text
    assert "| 500 | 2.00 | 2.18 | 20.00 |" in text
