"""What is proven of the image, each by one function that returns what it found.

All containers run as in `Engine.container`; a proof that fails raises ImageError.
"""

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Protocol

from scripts.image import unit_filter
from scripts.image.container import Container, ImageError, Setup
from whatsapp_worker import __version__
from whatsapp_worker.demo.rabbitmq import free_ports

CONFIG = {
    "User": "10001:10001",
    "Entrypoint": ["tini", "--", "whatsapp-worker"],
    "Cmd": ["run"],
    "StopSignal": "SIGTERM",
    "ExposedPorts": {"8080/tcp": {}},
    "WorkingDir": "/app",
}

# Prints the modules the daemon imports that were compiled while being imported.
UNCOMPILED = """
import sys
from pathlib import Path
import whatsapp_worker.cli, whatsapp_worker.process, whatsapp_worker.healthcheck
from whatsapp_worker.whatsapp.installation import load_native
load_native(Path("unused"), None)
for module in list(sys.modules.values()):
    cached = getattr(module, "__cached__", None)
    if cached and not Path(cached).exists():
        print(module.__name__)
"""

# Says which of what the systemd unit forbids is allowed all the same.
FORBIDDEN = """
import os, socket
from mmap import PROT_EXEC, PROT_WRITE, mmap
for name, attempt in {
    "writable executable memory": lambda: mmap(-1, 4096, prot=PROT_WRITE | PROT_EXEC),
    "packet sockets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "priorities": lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
}.items():
    try:
        attempt()
    except PermissionError:
        continue
    print(name)
"""

# Exit code 0 if nothing outside the volume and /tmp can be written, and nobody can become root.
LOCKED_UP = """
set -eu
[ "$(id -u):$(id -g)" = 10001:10001 ]
for place in / /app /etc /opt/whatsapp-worker/bin /usr/local; do
    ! touch "$place/written" 2>/dev/null || { echo "$place can be written"; exit 1; }
done
touch /tmp/written /app/session/written
rm /app/session/written
for tool in pip pip3 gcc cc make git curl wget; do
    ! command -v "$tool" || { echo "$tool is there"; exit 1; }
done
base="$(readlink -f "$(command -v python3)")"  # The one below the virtual environment.
! "$base" -m pip --version 2>/dev/null || { echo "pip is there"; exit 1; }
for place in /var/lib/apt/lists/*_Packages /var/cache/apt/*.bin /build; do
    ! [ -e "$place" ] || { echo "$place is left over"; exit 1; }
done
"""


class Engine(Protocol):
    """What builds the image and runs it."""

    name: str

    def build(self, arguments: Mapping[str, str]) -> None:
        """Build it; `arguments` are those of the Dockerfile."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration, in Docker's words."""
        ...

    @property
    def size(self) -> str:
        """How large the image is, for a person."""
        ...

    def container(self, setup: Setup, volume: Path) -> AbstractContextManager[Container]:
        """Run one for as long as the context lasts, locked up as Kubernetes would.

        The image's own user, no capabilities, no way to gain any, a read-only root file system and
        a /tmp from which nothing can be executed.  `volume` becomes /app/session.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the proofs are made.

    Attributes:
        engine: has built the image.
        amqp_url: a RabbitMQ of our own, on this machine's loopback interface.
    """

    engine: Engine
    amqp_url: str = field(repr=False)


def configuration(place: Place) -> str:
    """User, entrypoint, signal and so on are what orchestrators are told to expect."""
    config = place.engine.config
    wrong = {key: config.get(key) for key, value in CONFIG.items() if config.get(key) != value}
    _insist(not wrong, f"not as expected: {wrong}")
    check = config["Healthcheck"]["Test"]
    _insist(check == ["CMD", "whatsapp-worker", "healthcheck"], f"health check: {check}")
    version = config["Labels"]["org.opencontainers.image.version"]
    _insist(version == __version__, f"labelled as version {version}")
    return f"user {config['User']}, version {version}"


def nothing_can_be_changed_or_installed(place: Place) -> str:
    """Uid 10001; only the volume and /tmp are writable; no pip, compiler or package list."""
    _run(place, Setup(command=("-c", LOCKED_UP), entrypoint=("sh",)))
    return "only /app/session and /tmp are writable"


def everything_is_compiled(place: Place) -> str:
    """No start compiles Python anew, which a read-only file system would make everyone do."""
    printed = _run(place, Setup(command=("-c", UNCOMPILED), entrypoint=("python3",)))
    _insist(not printed, f"not compiled: {' '.join(printed.split())}")
    return "all modules of the daemon"


def commands_work(place: Place) -> str:
    """`--version` and `--help`, through the entrypoint."""
    version = _run(place, Setup(command=("--version",))).strip()
    _insist(version == f"whatsapp-worker {__version__}", f"--version says {version}")
    _insist("Exit codes" in _run(place, Setup(command=("--help",))), "no help")
    return version


def the_demo_inside_the_container(place: Place) -> str:
    """Every message of the demo meets its fate: daemon and publisher both run inside."""
    url = {"RABBITMQ_URL": place.amqp_url}
    printed = _run(place, Setup(command=("demo",), environment=url, network=True))
    return printed.strip().splitlines()[-1]


def the_sandbox_until_sigterm(place: Place) -> str:
    """`run`, with RabbitMQ: healthy from inside, and SIGTERM ends it with 0."""
    environment = {
        "RABBITMQ_URL": place.amqp_url,
        "WHATSAPP_SENDER": "sandbox",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(free_ports(1)[0]),
        "ENV": "production",
    }
    setup = Setup(environment=environment, network=True)
    return _lives_and_ends(place, setup, expected="ledger.db")


def whatsapp_without_a_network(place: Place) -> str:
    """`run` with the real library, unpaired and offline: it makes its session, waits and ends."""
    setup = Setup(environment={"ENV": "production"})
    return _lives_and_ends(place, setup, expected="whatsapp.db")


def whatsapp_under_the_filter_of_the_systemd_unit(place: Place) -> str:
    """The same with no more system calls than the unit allows."""
    seccomp = unit_filter.profile()
    python = Setup(command=("-c", FORBIDDEN), entrypoint=("python3",), seccomp=seccomp)
    allowed = _run(place, python)
    _insist(not allowed, f"allowed: {allowed}")
    setup = Setup(environment={"ENV": "production"}, seccomp=seccomp)
    return _lives_and_ends(place, setup, expected="whatsapp.db")


ALL: tuple[Callable[[Place], str], ...] = (
    configuration,
    nothing_can_be_changed_or_installed,
    everything_is_compiled,
    commands_work,
    the_demo_inside_the_container,
    the_sandbox_until_sigterm,
    whatsapp_without_a_network,
    whatsapp_under_the_filter_of_the_systemd_unit,
)


def _lives_and_ends(place: Place, setup: Setup, *, expected: str) -> str:
    """Run the daemon until it is healthy and has made a file, and end it by SIGTERM."""
    with _volume() as volume:
        begun = monotonic()
        with place.engine.container(setup, volume) as container:
            container.wait_for(container.healthy, "healthy")
            healthy = monotonic() - begun
            container.wait_for((volume / expected).exists, f"writing its {expected}")
            told = monotonic()
            code = container.stop()
            _insist(code == 0, f"ended with {code}:\n{container.printed[-2000:]}")
        took = monotonic() - told
        _insist_on_privacy(volume)
        return f"healthy after {healthy:.1f} s, exit code 0 {took:.1f} s after SIGTERM"


def _insist_on_privacy(volume: Path) -> None:
    """What holds a login is readable by its owner alone."""
    for path in volume.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        _insist(mode == 0o600, f"{path.name} has mode {mode:o}")
        _insist(path.stat().st_uid == 10001, f"{path.name} is uid {path.stat().st_uid}'s")


def _run(place: Place, setup: Setup) -> str:
    """Run to the end, and return what was printed."""
    with _volume() as volume, place.engine.container(setup, volume) as container:
        code = container.wait()
        _insist(code == 0, f"exit code {code}:\n{container.printed[-2000:]}")
        return container.printed


@contextmanager
def _volume() -> Iterator[Path]:
    """An empty volume that uid 10001 may write to, whoever we are."""
    with TemporaryDirectory(prefix="image-check-") as directory:
        volume = Path(directory, "session")
        volume.mkdir()
        volume.chmod(0o777)  # Its parent is ours alone.
        yield volume


def _insist(fact: bool, otherwise: str) -> None:
    if not fact:
        raise ImageError(otherwise)
