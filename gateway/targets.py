"""Where the service is, by UGC_INGEST_TARGET: a list of hosts that the gateway resolves, or a name of gRPC. Pure."""

from __future__ import annotations

from common.settings import Address, host_and_port

# Names by which gRPC finds a service.
SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")
# Those that name hosts, which the gateway resolves itself; that of a DNS server, `dns://server/host`, stays with gRPC.
HOST_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:")
DNS_SERVER = "dns://"
HOSTS_MAX = 64


def check_target(text: str) -> str:
    """Return where a server is: `host:port`, or one of gRPC's own schemes."""
    if not text.startswith(SCHEMES):
        host_and_port(text, port_min=1)
    return text


def check_targets(text: str) -> str:
    """Return where the service is: as above, or `host:port` of several servers separated by commas."""
    if text.startswith(SCHEMES):
        return text
    hosts = text.split(",")
    if len(hosts) > HOSTS_MAX:
        raise ValueError(f"must have at most {HOSTS_MAX} hosts, not {len(hosts)}")
    for host in hosts:
        host_and_port(host, port_min=1)
    return text


def hosts_of(target: str) -> tuple[Address, ...]:
    """Return the hosts of a target, each once; none when gRPC has to find the service, as at `unix:` and `xds:`."""
    scheme = next((scheme for scheme in HOST_SCHEMES if target.startswith(scheme)), "")
    if not scheme and target.startswith(SCHEMES):
        return ()
    if scheme != HOST_SCHEMES[0] and target.startswith(DNS_SERVER):
        return ()
    try:
        return tuple(dict.fromkeys(host_and_port(host, port_min=1) for host in target.removeprefix(scheme).split(",")))
    except ValueError:
        return ()  # in a form that gRPC may read, as without a port
