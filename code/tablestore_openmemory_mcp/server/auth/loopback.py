"""Who may need no token: a loopback peer that calls us by a loopback name, and names no proxy. Whose program it is
peers.py finds out."""

from ipaddress import ip_address

from starlette.types import Scope

# A reverse proxy, a tunnel or a CDN on this host is the internet: whoever adds one of these forwards for someone else.
_FORWARDING = frozenset(
    {
        b"forwarded",
        b"via",
        b"client-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"x-original-host",
        b"x-original-url",
        b"x-proxyuser-ip",
        b"x-real-ip",
        b"x-request-via",
        b"fastly-client-ip",
        b"do-connecting-ip",
        b"ali-cdn-real-ip",
        b"wl-proxy-client-ip",
        b"proxy-connection",
    }
)
_FORWARDING_PREFIXES = (
    b"x-forwarded",
    b"x-envoy-",
    b"x-amzn-",
    b"x-amz-cf-",
    b"x-azure-",
    b"x-appengine-",
    b"x-arr-",
    b"x-fc-",
    b"x-vercel-",
    b"x-nf-",
    b"cf-",
    b"cdn-",
    b"eagleeye-",
    b"fly-",
    b"ngrok-",
    b"tailscale-",
)


def is_local(scope: Scope) -> bool:
    """Whether the request comes from this machine and, as far as it says, from nowhere else."""
    if scope.get("http_version") == "1.0":  # what proxies speak by default (nginx before 1.29.7), and no MCP client
        return False
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    hosts = []
    for name, value in scope["headers"]:  # every request passes here; starlette's Headers would decode all of them
        if name == b"host":
            hosts.append(value)
        elif name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES):
            return False
    return len(hosts) == 1 and is_loopback_name(hosts[0].decode("latin-1"))


def is_loopback_name(authority: str) -> bool:
    """Whether `authority` ("localhost:8765", "[::1]:80", "127.0.0.1") names this machine. DNS is not asked: a name
    that an attacker rebinds to 127.0.0.1 is not "localhost"."""
    name = authority.strip().lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    if port and not port.isdigit():
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    if address in ("127.0.0.1", "::1"):  # nearly always
        return True
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback
