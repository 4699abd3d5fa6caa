"""Links in the documents lead somewhere: to a file that exists, and to a heading in it."""

import re
from pathlib import Path

import pytest

from tests.test_architecture import tracked_files

DOCUMENTS = sorted(path for path in tracked_files() if path.suffix == ".md")
CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of headings, as code hosts make them."""
    without_examples = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", without_examples, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(document: Path) -> list[str]:
    """The links of a document that lead nowhere; those to other hosts are not looked at."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            found.append(target)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("# One, two\n\n[a](#one-two) [b](#three) [c](gone.md) `[d](gone.md)`\n")
    assert broken(document) == ["#three", "gone.md"]
