"""Runs a step of scripts/verify in another tree, where a fault was planted."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = (ROOT / ".tools/venv/bin", ROOT / "scripts/verify-node/node_modules/.bin")


def run_step(name: str, tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a step of scripts/verify.d.

    Args:
        name: without its number.
        tree: takes the place of the repository's root.
    """
    (program,) = (ROOT / "scripts/verify.d").glob(f"[0-9][0-9]-{name}")
    path = os.pathsep.join([*map(str, TOOLS), os.environ["PATH"]])
    return subprocess.run(
        [program],
        cwd=tree,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
