"""Write the parts of the documents that come from the code: README's settings, .env.example.

`--check` writes nothing and fails when a document is out of date.
"""

import re
import sys
from pathlib import Path

from whatsapp_worker.settings import settings_env_example, settings_table

ROOT = Path(__file__).parent.parent
BETWEEN_MARKERS = re.compile(r"(<!-- settings:begin.*?-->\n).*?(<!-- settings:end -->)", re.DOTALL)


def documents() -> dict[Path, str]:
    """Each document and what it ought to hold."""
    readme = (ROOT / "README.md").read_text()
    table = settings_table().strip()
    return {
        ROOT / "README.md": BETWEEN_MARKERS.sub(
            lambda marks: f"{marks[1]}\n{table}\n\n{marks[2]}", readme
        ),
        ROOT / ".env.example": settings_env_example(),
    }


def main(arguments: list[str]) -> int:
    """Write, or check; returns the exit code."""
    stale = [
        path for path, text in documents().items() if not path.exists() or path.read_text() != text
    ]
    for path in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is out of date: run `make docs`\n")
        else:
            path.write_text(documents()[path])
            sys.stdout.write(f"{path.name} written\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
