"""A container that runs, whichever engine runs it."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

TAG = "localhost/whatsapp-worker:image-check"
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.1
TAIL = 2000
"""Characters of what was printed that a failure shows."""

Command = Sequence[str]


class ImageError(Exception):
    """The image could not be built or run, or is not as it should be; the text is for a person."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What one container differs in from the others.

    Attributes:
        command: instead of the image's.
        entrypoint: instead of the image's.
        environment: beside the image's.
        network: the machine's own network; else nothing but a loopback interface.
        seccomp: a profile of system calls that are allowed, instead of the engine's.
    """

    command: Command = ()
    entrypoint: Command = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: bool = False
    seccomp: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was started.

    Attributes:
        process: the engine's client in the foreground; passes SIGTERM on, ends with the exit code.
        inside: makes the command that runs another one inside.
        output: the file that takes all that is printed.
    """

    process: subprocess.Popen[bytes]
    inside: Callable[[Command], Command]
    output: Path

    @property
    def printed(self) -> str:
        """All it printed so far."""
        return self.output.read_text(errors="replace")

    def healthy(self) -> bool:
        """What the image's own health check says, asked as the runtime asks it."""
        asked = self.inside(("whatsapp-worker", "healthcheck"))
        done = subprocess.run(  # noqa: S603  Fixed, but for the engine.
            asked, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
        return done.returncode == 0

    def wait_for(self, fact: Callable[[], bool], what: str, within: float = 45.0) -> None:
        """Return as soon as `fact` is true; `within` is in seconds.

        Raises:
            ImageError: the container ended, or the time is up.
        """
        deadline = monotonic() + within
        while not fact():
            if self.process.poll() is not None or monotonic() > deadline:
                raise ImageError(f"it never was {what}:\n{self.printed[-TAIL:]}")
            sleep(POLL_SECONDS)

    def wait(self, within: float = 120.0) -> int:
        """Return the exit code when it has ended; `within` is in seconds.

        Raises:
            ImageError: it still runs.
        """
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise ImageError(f"it still runs after {within:g} s:\n{self.printed[-TAIL:]}") from None

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), and return the exit code."""
        self.process.terminate()
        return self.wait()


@contextmanager
def running(
    start: Command, inside: Callable[[Command], Command], remove: Command
) -> Iterator[Container]:
    """A container for as long as the context lasts.

    Args:
        start: runs it in the foreground.
        inside: see `Container`.
        remove: ends it if it still runs, and forgets it; may fail when it is gone.
    """
    with TemporaryDirectory(prefix="image-check-") as directory:
        output = Path(directory, "output")
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603  The engines' own commands.
                start, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        try:
            yield Container(process, inside, output)
        finally:
            subprocess.run(remove, capture_output=True, check=False)  # noqa: S603  As above.
            process.wait(COMMAND_SECONDS)


def call(*command: str, within: float = COMMAND_SECONDS) -> str:
    """Run a command and return what it printed; `within` is in seconds.

    Raises:
        ImageError: it failed; holds the end of what it said.
    """
    try:
        done = subprocess.run(  # noqa: S603  The engines' own commands.
            command, capture_output=True, text=True, timeout=within, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise ImageError(f"{' '.join(command[:2])}:\n{(done.stdout + done.stderr)[-TAIL:]}")
    return done.stdout
