"""What tests of settings share."""

import pytest

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import (
    load_settings,
)

SECRET = "hunter2-secret"


def complaints(**env: str) -> list[str]:
    """The lines a bad environment is refused with."""
    with pytest.raises(Misconfigured) as refusal:
        load_settings(env)
    return str(refusal.value).splitlines()
