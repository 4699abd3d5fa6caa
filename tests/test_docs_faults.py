"""What the documents leave out is noticed: each check fails on a document without one row."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import test_docs_observability as observability
from tests import test_settings


def without(text: str, beginning: str) -> str:
    """A document without its one line that begins so."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(beginning)]
    assert len(kept) == len(lines) - 1, beginning
    return "".join(kept)


@pytest.mark.parametrize(
    ("document", "row", "check"),
    [
        (
            "HEALTH_CHECK",
            "| `/readyz` | Are",
            observability.test_every_endpoint_is_described_and_no_other,
        ),
        (
            "METRICS",
            "| `worker_overdue_retries` |",
            observability.test_every_metric_is_described_as_it_is_and_no_other,
        ),
        (
            "LOGGING",
            "| `whatsapp_id` |",
            observability.test_every_field_of_a_jobs_line_is_described_and_no_other,
        ),
        (
            "LOGGING",
            "| `whatsapp_state` |",
            observability.test_every_field_that_other_lines_carry_is_described,
        ),
    ],
)
def test_what_is_not_described_is_noticed(
    document: str, row: str, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    check()
    monkeypatch.setattr(observability, document, without(getattr(observability, document), row))
    with pytest.raises(AssertionError):
        check()


def test_a_setting_that_is_not_in_the_readme_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (test_settings.ROOT / "README.md").read_text()
    test_settings.test_the_readme_table_is_the_one_the_model_makes()
    (tmp_path / "README.md").write_text(without(readme, "| `SEND_TIMEOUT` |"))
    monkeypatch.setattr(test_settings, "ROOT", tmp_path)
    with pytest.raises(AssertionError):
        test_settings.test_the_readme_table_is_the_one_the_model_makes()
