"""The examples of README.md, as a reader would copy them."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def examples(language: str) -> list[str]:
    """The code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
