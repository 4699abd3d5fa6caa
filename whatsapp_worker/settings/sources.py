"""Where settings come from: the environment, files named there, `.env`, or the defaults."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import ValidationError

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings.describe import Description, descriptions
from whatsapp_worker.settings.model import Settings

DOTENV = Path(".env")


@dataclass(slots=True)
class Gathered:
    """What the operator has set, not yet checked.

    Attributes:
        values: text by field; never print it.
        origins: by field, where the text comes from.
        problems: what could not be read, one line each.
        notes: what is odd, one line each.
    """

    values: dict[str, str] = field(default_factory=dict, repr=False)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings.

    Args:
        env: the environment; None is the process's own, and then `.env` counts as well.

    Raises:
        Misconfigured: with one line for each bad setting: name, rule, fix; never the value.
    """
    return settings_from(gather(os.environ, DOTENV) if env is None else gather(env))


def gather(env: Mapping[str, str], dotenv: Path | None = None) -> Gathered:
    """Collect what is set: NAME, else the file that NAME_FILE names, else both again in `.env`.

    An empty value counts as not set.  Files are for secrets only, and lose one trailing newline.

    Args:
        env: the environment.
        dotenv: a file of further lines NAME=value; need not exist.
    """
    gathered = Gathered()
    layers = {"environment": env, ".env": _read_dotenv(dotenv, gathered) if dotenv else {}}
    for each in descriptions():
        for origin, layer in layers.items():
            if _take(each, layer, origin, gathered):
                break
    _understand_service_link(gathered)
    gathered.notes += _misspelt(env)
    return gathered


def settings_from(gathered: Gathered) -> Settings:
    """Make settings of what was gathered.

    Raises:
        Misconfigured: as `load_settings`.
    """
    problems = list(gathered.problems)
    try:
        settings = Settings.model_validate({**gathered.values, "notes": tuple(gathered.notes)})
    except ValidationError as error:
        problems += _explain(error)
    if problems:
        raise Misconfigured("\n".join(problems)) from None
    return settings


def _take(setting: Description, layer: Mapping[str, str], origin: str, gathered: Gathered) -> bool:
    """Take a setting from one layer; whether it was there, usable or not."""
    name, name_file = setting.name, f"{setting.name}_FILE"
    value, path = layer.get(name), layer.get(name_file) if setting.secret else None
    if value and path:
        gathered.problems.append(f"{name}, {name_file}: both are set; remove one of them")
    elif value:
        gathered.values[setting.field], gathered.origins[setting.field] = value, origin
    elif path:
        gathered.origins[setting.field] = f"{origin} ({name_file})"
        try:
            content = Path(path).read_text("utf-8").removesuffix("\n").removesuffix("\r")
            if not content:
                gathered.problems.append(f"{name_file}: the file is empty; write the value to it")
            gathered.values[setting.field] = content
        except OSError as error:
            gathered.problems.append(
                f"{name_file}: can not be read ({error.strerror}); check path and permissions"
            )
        except UnicodeDecodeError:
            gathered.problems.append(f"{name_file}: is not UTF-8 text; write the bare value to it")
        except ValueError:  # A NUL, which only .env can hold.
            gathered.problems.append(f"{name_file}: is no path; write the path of a file")
    return bool(value or path)


def _read_dotenv(path: Path, gathered: Gathered) -> dict[str, str]:
    """Values are taken as they stand: a `$` in a password is a `$`."""
    try:
        lines = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError):
        gathered.problems.append(f"{path}: can not be read; it must be UTF-8 text, readable by us")
        return {}
    return {name: value for name, value in lines.items() if value is not None}


def _understand_service_link(gathered: Gathered) -> None:
    """Kubernetes sets RABBITMQ_PORT=tcp://10.0.0.1:5672 beside every service named rabbitmq."""
    given = gathered.values.get("rabbitmq_port", "")
    if not given.startswith("tcp://"):
        return
    try:
        port = urlsplit(given).port
    except ValueError:
        return
    gathered.values["rabbitmq_port"] = str(port)
    gathered.notes.append(
        "RABBITMQ_PORT: was set by Kubernetes for a service, and only its port number is used; "
        "set RABBITMQ_PORT yourself, or enableServiceLinks: false"
    )


def _misspelt(env: Mapping[str, str]) -> Iterator[str]:
    names = {each.name for each in descriptions()}
    known = names | {f"{name}_FILE" for name in names}
    for name in sorted(set(env) - known):
        if near := get_close_matches(name, sorted(names), n=1, cutoff=0.86):
            yield f"{name}: no such setting, did you mean {near[0]}?"


def _explain(error: ValidationError) -> Iterator[str]:
    by_field: dict[str, Description] = {each.field: each for each in descriptions()}
    for problem in error.errors(include_url=False, include_input=False):
        if problem["type"] == "default_factory_not_called":
            continue  # Not wrong itself: its default hangs on a setting that is.
        if not problem["loc"]:
            yield str(problem["ctx"]["error"])  # The rules between settings name them.
            continue
        setting = by_field[str(problem["loc"][0])]
        yield f"{setting.name}: {_rule(problem.get('ctx', {}).get('error'), setting)}"


def _rule(own: Exception | None, setting: Description) -> str:
    default = f" (default: {setting.default})" if setting.default else ""
    return f"{own or 'must be ' + setting.kind}{default}"
