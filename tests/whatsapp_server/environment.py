"""What a client PROCESS needs to find our server; Go reads some of it only at exec (measured)."""

import os
from pathlib import Path

TRIPWIRES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NEVER_PAST_THEM = "NO_PROXY"


def client_environment(
    library: Path, ca_file: Path, *, proxy: str, tripwire: str
) -> dict[str, str]:
    """The variables to add to a client's environment.

    Args:
        library: comes first in PYTHONPATH, so that the client imports the copy in it.
        ca_file: the only authority the client trusts.
        proxy: the daemon's way to WhatsApp, as its own setting.
        tripwire: the way of whatever asks for another one.
    """
    python_path = [str(library), os.environ.get("PYTHONPATH", "")]
    proxies = dict.fromkeys(TRIPWIRES, tripwire) | {NEVER_PAST_THEM: ""}
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
        "SSL_CERT_FILE": str(ca_file),
        "SSL_CERT_DIR": str(ca_file.parent / "no-certificates-here"),
        "WHATSAPP_PROXY_URL": proxy,
        **proxies,
        **{name.lower(): value for name, value in proxies.items()},
    }
