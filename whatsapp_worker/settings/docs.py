"""The settings as documents: the README's table and `.env.example`."""

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap

from whatsapp_worker.settings.describe import Description, descriptions


def settings_table() -> str:
    """Markdown tables, one for each group: name, default, meaning."""
    return "\n".join(_table())


def settings_env_example() -> str:
    """A `.env` file with every setting, commented out, at its default."""
    return "\n".join(_env_example()) + "\n"


def _groups() -> Iterator[tuple[str, Iterator[Description]]]:
    return groupby(descriptions(), key=lambda each: each.group)


def _table() -> Iterator[str]:
    for group, settings in _groups():
        yield from (f"#### {group}", "", "| Name | Default | Meaning |", "|---|---|---|")
        for each in settings:
            default = f"`{each.default}`" if each.default else "-"
            yield f"| `{each.name}` | {default} | {_meaning(each)} |".replace("`|`", "`\\|`")
        yield ""


def _env_example() -> Iterator[str]:
    yield "# Settings of whatsapp-worker.  Copy to .env and change what differs from the default."
    yield "# What the environment says wins over this file.  Written by scripts/write_docs.py."
    for group, settings in _groups():
        yield from ("", f"# --- {group} ".ljust(80, "-"))
        for each in settings:
            yield ""
            yield from wrap(
                _meaning(each).replace("`", ""), 98, initial_indent="# ", subsequent_indent="# "
            )
            conditional = "," in each.default and " " in each.default
            yield f"#{each.name}={'' if conditional else each.default}"


def _meaning(setting: Description) -> str:
    if setting.secret:
        return f"{setting.meaning}. A file may hold it: `{setting.name}_FILE`."
    return f"{setting.meaning}."
