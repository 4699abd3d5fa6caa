"""Docker or Podman, where one of them answers; both take the same words."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from scripts.image.container import TAG, Command, Container, Setup, call, running

BUILD_SECONDS = 1800.0


class Docker:
    """Builds and runs with an engine.

    Args:
        name: "docker" or "podman".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def build(self, arguments: Mapping[str, str]) -> None:
        """Build the image from its real base; `arguments` are those of the Dockerfile."""
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        # Podman drops the health check of its own format; Docker knows no other and no option.
        form = ["--format=docker"] if self.name == "podman" else []
        call(self.name, "build", *form, *given, f"--tag={TAG}", ".", within=BUILD_SECONDS)

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration."""
        return dict(self._inspected["Config"])

    @property
    def size(self) -> str:
        """How large the image is."""
        return f"{self._inspected['Size'] / 1e6:.0f} MB"

    @property
    def _inspected(self) -> Mapping[str, Any]:
        (image,) = json.loads(call(self.name, "image", "inspect", TAG))
        return dict(image)

    @contextmanager
    def container(self, setup: Setup, volume: Path) -> Iterator[Container]:
        """Run one, locked up as Kubernetes would."""
        name = f"image-check-{token_hex(4)}"

        def inside(command: Command) -> Command:
            return (self.name, "exec", name, *command)

        with TemporaryDirectory(prefix="image-check-") as directory:
            profile = Path(directory, "seccomp.json")
            profile.write_text(json.dumps(setup.seccomp))
            start = [
                *(self.name, "run", "--rm", "--name", name, "--read-only", "--cap-drop=ALL"),
                *("--security-opt=no-new-privileges", "--tmpfs=/tmp:rw,noexec,nosuid,size=64m"),
                *("--network", "host" if setup.network else "none"),
                *("--volume", f"{volume}:/app/session"),
                *([f"--security-opt=seccomp={profile}"] if setup.seccomp else []),
                *(f"--env={key}={value}" for key, value in setup.environment.items()),
                *(f"--entrypoint={each}" for each in setup.entrypoint[:1]),
                *(TAG, *setup.entrypoint[1:], *setup.command),
            ]
            with running(start, inside, (self.name, "rm", "--force", name)) as container:
                yield container
