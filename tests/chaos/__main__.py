"""The command line of the fault campaign.

Exit code 0: everything held; 1: something did not; 2: the command line makes no sense.
"""

import argparse
import asyncio
import difflib
import logging
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from random import SystemRandom
from time import monotonic

from tests.chaos import report
from tests.chaos.runner import Runner, chosen
from tests.chaos.scenario import Kind, Scenario, all_scenarios

ROOT = Path(__file__).parent.parent.parent
QUICK_SCALE = 0.1
QUICK_SECONDS = 150.0
JOBS = 6

EPILOG = """
examples:
  make chaos                                        all faults, in full (25 minutes)
  make chaos ARGS=--list                            what there is
  make chaos ARGS="connection-reset"                one fault, on both kinds of queue
  make chaos ARGS="connection-reset --kind quorum --seed 4711"
  make chaos ARGS=--quick                           a random part of it, small (under 3 minutes)

L is what RabbitMQ confirmed and what was neither sent nor dead-lettered; D is what was sent twice
although no send of it was in doubt.  Both have to be 0.  A run that fails keeps its evidence.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make chaos ARGS=",
        usage="make chaos [ARGS='[NAME ...] [options]']",
        description="Break everything around the worker while messages are under way, and count.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults; all without one")
    parser.add_argument("--list", action="store_true", help="list the faults, and end")
    parser.add_argument("--kind", choices=list(Kind), help="one kind of work queue only")
    parser.add_argument("--scale", type=float, help="this share of messages and faults (1)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a random part that takes 150 s, at a tenth of the scale; times are told, not judged",
    )
    parser.add_argument("--seed", type=int, help="repeat a campaign; it is printed")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"runs side by side ({JOBS})")
    parser.add_argument(
        "--write", action="store_true", help="put the figures into RELIABILITY.md, if all passed"
    )
    return parser


def _named(names: list[str], known: dict[str, Scenario]) -> list[Scenario]:
    """The scenarios of these names, all of them without any; says what to do about a wrong one."""
    for name in names:
        if name not in known:
            like = difflib.get_close_matches(name, known, n=3) or ["try --list"]
            raise SystemExit(f"make chaos: no fault is named {name!r}; {', '.join(like)}?")
    return [known[name] for name in names] or list(known.values())


async def _campaign(given: argparse.Namespace, scenarios: list[Scenario]) -> int:
    seed = SystemRandom().getrandbits(32) if given.seed is None else given.seed
    kinds = (Kind(given.kind),) if given.kind else tuple(Kind)
    scale = given.scale or (QUICK_SCALE if given.quick else 1.0)
    runs = chosen(scenarios, kinds, seed, QUICK_SECONDS if given.quick else None)
    screen = report.Screen(len(runs))
    begun = monotonic()
    screen.say(f"seed {seed}, {len(runs)} runs, scale {scale:g}", "", report.HEADING)
    results = await Runner(scale, given.jobs, not given.quick, screen.begun, screen.told).run(runs)
    seconds = monotonic() - begun
    screen.say("", report.summary(results, seconds))
    passed = all(result.passed for result in results)
    if given.write and passed:
        text = report.markdown(results, seed, seconds, _rabbitmq())
        report.write_into(ROOT / "RELIABILITY.md", text)
    return 0 if passed else 1


def _rabbitmq() -> str:
    """The version of the installed server."""
    command = ["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("-")[0] or "of an unknown version"


def main() -> int:
    """Follow the command line; returns the exit code."""
    parser = _parser()
    given = parser.parse_args()
    known = all_scenarios()
    if given.list:
        sys.stdout.write(report.catalogue(list(known.values())) + "\n")
        return 0
    try:
        scenarios = _named(given.names, known)
    except SystemExit as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    logging.disable(logging.CRITICAL)  # aiormq tells of every connection that we cut,
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited")  # and so.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return asyncio.run(_campaign(given, scenarios))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
