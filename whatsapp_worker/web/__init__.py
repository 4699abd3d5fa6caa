"""The only door to aiohttp: health and metrics for probes, scrapers and people."""

from whatsapp_worker.web.health import Health, Heartbeat, livez
from whatsapp_worker.web.server import Server

__all__ = ["Health", "Heartbeat", "Server", "livez"]
