"""What has to be in the environment when the process is executed."""

from whatsapp_worker.settings import Settings


def required_environment(settings: Settings) -> dict[str, str]:
    """Variables the Go half of neonize reads once, from `exec`; setting them later has no effect.

    `NEONIZE_BOT_TAG=off`: without it every message says it comes from a bot (measured).  The proxy
    is not among them, because it is passed to each connection.

    Args:
        settings: the worker's settings; none of them adds a variable so far.
    """
    return {"NEONIZE_BOT_TAG": "off"}
