"""Without an engine: buildah builds and runc runs, as root on Debian.

No registry gives out base images here, so Debian's own Python stands in for the base.  What that
leaves open: the real python:slim, BuildKit, memory limits, other architectures.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from scripts.image.container import TAG, Command, Container, ImageError, Setup, call, running

CACHE = Path(".tools/image").absolute()
BASE = "localhost/whatsapp-worker-base:bookworm"
PROGRAMS = ("buildah", "runc", "mmdebstrap")
BUILD_SECONDS = 900.0

# As in python:slim: no compiled standard library, so that ours has to bring what it needs.
UNCOMPILE = 'find "$1"/usr/lib/python3* -name __pycache__ -prune -exec rm -r {} +'
# This machine's certificates and pip settings: the way to its registries may lead through them.
FROM_HERE = ("/etc/ssl/certs", "/etc/pip.conf")


class Buildah:
    """Builds with buildah, runs with runc.

    Args:
        say: told what takes a while.

    Raises:
        ImageError: not root on Debian, or a package could not be installed.
    """

    name = "buildah (stand-in base: Debian's Python)"

    def __init__(self, say: Callable[[str], None]) -> None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise ImageError("needs Docker or Podman, or to be root on Debian")
        if missing := [each for each in PROGRAMS if shutil.which(each) is None]:
            say(f"Installing Debian's {', '.join(missing)} (once) ...")
            _install(missing)
        CACHE.mkdir(parents=True, exist_ok=True)
        os.environ["CONTAINERS_STORAGE_CONF"] = str(_storage())
        os.environ["BUILDAH_ISOLATION"] = "chroot"
        if BASE not in call("buildah", "images", "--format={{.Name}}:{{.Tag}}"):
            say("Making a base image of this machine's Debian packages (once, half a minute) ...")
            _make_base()

    def build(self, arguments: Mapping[str, str]) -> None:
        """Build the image; `arguments` are those of the Dockerfile."""
        given = {**arguments, "BASE_IMAGE": BASE}
        mounts = [f"--volume={path}:{path}:ro" for path in FROM_HERE if Path(path).exists()]
        call(
            *("buildah", "build", "--pull-never", "--network=host", "--format=docker"),
            *(f"--build-arg={key}={value}" for key, value in given.items()),
            *(*mounts, f"--tag={TAG}", "."),
            within=BUILD_SECONDS,
        )
        call("buildah", "rmi", "--prune")

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration."""
        return dict(json.loads(call("buildah", "inspect", "--type=image", TAG))["Docker"]["config"])

    @property
    def size(self) -> str:
        """How large the image is, and the stand-in below it."""
        ours, base = (_size(tag) for tag in (TAG, BASE))
        return f"{ours}, of which the stand-in base is {base}"

    @contextmanager
    def container(self, setup: Setup, volume: Path) -> Iterator[Container]:
        """Run one, locked up as Kubernetes would."""
        name = f"image-check-{token_hex(4)}"
        state = f"--root={CACHE / 'runc'}"
        with _root_file_system() as root, TemporaryDirectory(prefix="image-check-") as bundle:
            bundled = json.dumps(specification(root, setup, volume, self.config))
            Path(bundle, "config.json").write_text(bundled)

            def inside(command: Command) -> Command:
                return ("runc", state, "exec", name, *command)

            start = ("runc", state, "run", f"--bundle={bundle}", name)
            with running(start, inside, ("runc", state, "delete", "--force", name)) as container:
                yield container


def specification(
    root: Path, setup: Setup, volume: Path, config: Mapping[str, Any]
) -> dict[str, object]:
    """The container in the words of the OCI runtime specification (1.0.2).

    Args:
        root: the image's files.
        setup: what differs from other containers.
        volume: what becomes /app/session.
        config: the image's configuration.
    """
    uid, gid = (int(number) for number in config["User"].split(":"))
    entrypoint = setup.entrypoint or config["Entrypoint"]
    command = setup.command or (() if setup.entrypoint else config["Cmd"])
    private = ["pid", "ipc", "uts", "mount"] + ([] if setup.network else ["network"])
    filtered = {"seccomp": setup.seccomp} if setup.seccomp else {}
    kinds = ("bounding", "effective", "inheritable", "permitted", "ambient")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "process": {
            "user": {"uid": uid, "gid": gid},
            "args": [*entrypoint, *command],
            "env": [*config["Env"], *(f"{k}={v}" for k, v in setup.environment.items())],
            "cwd": config["WorkingDir"],
            "capabilities": {kind: [] for kind in kinds},
            "noNewPrivileges": True,
        },
        "mounts": _mounts(volume),
        "linux": {"namespaces": [{"type": kind} for kind in private], **filtered},
    }


def _mounts(volume: Path) -> list[dict[str, object]]:
    closed = ["nosuid", "nodev", "noexec"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": closed},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755"],
        },
        {
            "destination": "/tmp",  # noqa: S108  The container's own.
            "type": "tmpfs",
            "source": "tmpfs",
            "options": [*closed, "mode=1777", "size=64m"],
        },
        {
            "destination": "/app/session",
            "type": "bind",
            "source": str(volume),
            "options": ["bind", *closed],
        },
    ]


@contextmanager
def _root_file_system() -> Iterator[Path]:
    container = call("buildah", "from", "--pull-never", TAG).strip()
    try:
        yield Path(call("buildah", "mount", container).strip())
    finally:
        call("buildah", "rm", container)


def _size(tag: str) -> str:
    return call("buildah", "images", "--format={{.Size}}", tag).strip()


def _install(packages: list[str]) -> None:
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ("apt-get", "-q", "install", "--yes", "--no-install-recommends", *packages)
    try:
        call(*install, within=BUILD_SECONDS)
    except ImageError:  # A fresh machine has no package lists yet.
        call("apt-get", "-q", "update", within=BUILD_SECONDS)
        call(*install, within=BUILD_SECONDS)


def _storage() -> Path:
    """Where buildah keeps its images: apart from every other container on this machine."""
    kind = call("stat", "--file-system", "--format=%T", str(CACHE)).strip()
    driver = "vfs" if kind == "overlayfs" else "overlay"  # It can not be stacked on itself.
    file = CACHE / "storage.conf"
    file.write_text(
        f'[storage]\ndriver = "{driver}"\nrunroot = "{CACHE}/run"\ngraphroot = "{CACHE}/images"\n'
    )
    return file


def _make_base() -> None:
    """Debian's smallest system with Python, from the sources this machine installs from."""
    archive = CACHE / "base.tar"
    candidates = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
    sources = [path for path in candidates if Path(path).exists()]
    include = "--include=python3,python3-venv,ca-certificates"
    hook = f"--customize-hook={UNCOMPILE}"
    made = ("mmdebstrap", "--quiet", "--variant=minbase", include, hook, "bookworm", str(archive))
    call(*made, *sources, within=BUILD_SECONDS)
    container = call("buildah", "from", "scratch").strip()
    try:
        call("buildah", "add", "--quiet", container, str(archive), "/", within=BUILD_SECONDS)
        call("buildah", "commit", "--quiet", container, BASE, within=BUILD_SECONDS)
    finally:
        call("buildah", "rm", container)
        archive.unlink()
