"""What RELIABILITY.md tells its readers is true."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.chaos.scenario import all_scenarios
from whatsapp_worker.settings import Failpoint

TEXT = (Path(__file__).parent.parent / "RELIABILITY.md").read_text()
CLAIMS = TEXT[TEXT.index("## What is promised") : TEXT.index("## What is not promised")]
NAMED = sorted(set(re.findall(r"`([a-z]+(?:-[a-z]+)*(?:-?\*)?)`", CLAIMS)) - {"resend", "park"})
FIGURES = TEXT.partition("<!-- figures of the last run -->")[2].partition(
    "<!-- end of figures -->"
)[0]


@pytest.mark.parametrize("name", [name for name in NAMED if "-" in name])
def test_what_shows_a_promise_is_a_fault_of_the_campaign(name: str) -> None:
    assert any(fnmatch(scenario, name) for scenario in all_scenarios())


def test_every_crash_window_is_drawn() -> None:
    drawn = TEXT[TEXT.index("## Crash windows") :]
    assert [window for window in Failpoint if window not in drawn] == []


def test_the_figures_are_of_every_fault() -> None:
    told = {(name, kind) for name, kind in re.findall(r"\| `([a-z-]+)` \| (\w+) \|", FIGURES)}
    assert told == {(name, kind) for name, each in all_scenarios().items() for kind in each.kinds}


def test_the_figures_keep_the_promise() -> None:
    assert "L 0, D 0" in FIGURES
    assert "TOO MUCH" not in FIGURES
