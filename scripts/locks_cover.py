"""Check, offline, that the lock files hold what pyproject.toml asks for."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def main() -> int:
    """Print what is amiss, a line each; returns the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = project["project"]["dependencies"]
    problems = missing("requirements.lock", needed)
    problems += missing("requirements-dev.lock", needed + project["dependency-groups"]["dev"])
    lines = (ROOT / "requirements-bench.in").read_text().splitlines()
    peers = [line for line in lines if line and not line.startswith("#")]
    problems += missing("requirements-bench.lock", needed + peers)
    for problem in problems:
        sys.stderr.write(f"{problem}; make it again: make lock\n")
    return 1 if problems else 0


def missing(lock: str, requirements: list[str]) -> list[str]:
    """Name each requirement that the lock file does not satisfy."""
    text = (ROOT / lock).read_text()
    pinned = {canonicalize_name(name): version for name, version in PINNED.findall(text)}
    return [
        f"{lock} does not satisfy {requirement}"
        for requirement in map(Requirement, requirements)
        if not requirement.specifier.contains(
            pinned.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
