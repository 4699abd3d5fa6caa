"""Fixtures of the tests that run the daemon with the real neonize library."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.acceptance.network import attempts, is_offline
from tests.acceptance.rig import FIGURES, OWNER, Rig
from tests.integration.campaign import seeded
from tests.integration.messages import Planner
from tests.support.privacy import leaks
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.server import WhatsAppServer


@pytest.hookimpl(trylast=True)  # After pytest-randomly has shuffled.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what waits longest, so that nobody waits for it at the end.

    pytest-xdist hands two tests to every worker to begin with; the second has to be a quick one.
    """
    items.sort(key=lambda item: -_limit(item))
    workers = getattr(config, "workerinput", {}).get("workercount", 0)
    slow, others = items[:workers], items[workers:]
    quick = others[max(0, len(others) - workers) :]
    pairs = [each for pair in zip(slow, quick, strict=False) for each in pair]
    items[:] = pairs + [each for each in items if each not in pairs]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the campaigns counted."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        figures = [told for name, told in report.user_properties if name == FIGURES]
        if figures and report.when == "call":
            terminalreporter.section(report.nodeid.rpartition("::")[2])
            for name, value in (item for told in figures for item in told.items()):
                terminalreporter.line(f"{name}: {value}")


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker and "acceptance" in item.path.parts else 0.0


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaves_this_machine() -> Iterator[None]:
    """Under `make acceptance` the kernel counts whatever tries; see `network`.

    Each server besides fails its own test if a client dials what is not WhatsApp.
    """
    before = attempts()
    yield
    assert not is_offline() or attempts() == before


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The installed neonize, made to trust our servers."""
    return Library.prepare(tmp_path_factory.mktemp("neonize"))


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[Path]:
    """The directory that keeps what the test's daemons print; nothing in it may be private."""
    directory = tmp_path / "printed"
    directory.mkdir()
    yield directory
    found = {path.name: leaks(path.read_text(errors="replace")) for path in directory.iterdir()}
    assert not {name: what for name, what in found.items() if what}


@pytest.fixture
async def rig(amqp_url: str, library: Library, tmp_path: Path, printed: Path) -> AsyncIterator[Rig]:
    """A WhatsApp with an account that no device is linked to yet, and an empty virtual host."""
    async with WhatsAppServer(library, tmp_path) as server:
        owner = server.add_account(OWNER)
        yield Rig(server, owner, amqp_url, tmp_path, printed, Planner(seeded()))
