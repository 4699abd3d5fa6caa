"""Every setting once: its name, default, bounds, meaning and where it may come from."""

from whatsapp_worker.settings.docs import settings_env_example, settings_table
from whatsapp_worker.settings.model import Settings
from whatsapp_worker.settings.sources import Gathered, gather, load_settings
from whatsapp_worker.settings.values import (
    Environment,
    Failpoint,
    LogLevel,
    OnUnknown,
    QrMode,
    Rung,
    SenderKind,
    Topology,
)

__all__ = [
    "Environment",
    "Failpoint",
    "Gathered",
    "LogLevel",
    "OnUnknown",
    "QrMode",
    "Rung",
    "SenderKind",
    "Settings",
    "Topology",
    "gather",
    "load_settings",
    "settings_env_example",
    "settings_table",
]
