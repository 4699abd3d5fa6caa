"""Whether anything tried to leave this machine, as the kernel counts it."""

from pathlib import Path

_ROUTES, _IPV4, _IPV6 = Path("/proc/net/route"), Path("/proc/net/snmp"), Path("/proc/net/snmp6")


def is_offline() -> bool:
    """Whether this process runs in a network that leads nowhere (`scripts/offline`)."""
    return len(_ROUTES.read_text().splitlines()) == 1  # The header alone.


def attempts() -> int:
    """How often somebody in this network wanted to reach an address that no route leads to.

    The kernel counts every such connect and datagram of every process (RFC 4293,
    ipSystemStatsOutNoRoutes), in each network namespace for itself.
    """
    names, values = (line.split() for line in _IPV4.read_text().splitlines() if line[:3] == "Ip:")
    ipv4 = int(values[names.index("OutNoRoutes")])
    ipv6 = sum(
        int(line.split()[1])
        for line in _IPV6.read_text().splitlines()
        if line.startswith("Ip6OutNoRoutes")
    )
    return ipv4 + ipv6
