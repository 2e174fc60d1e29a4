"""Who may need no token: a loopback peer that calls us by a loopback name, and names no proxy. Whose program it is
peers.py finds out."""

from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

# A reverse proxy, a tunnel or a CDN on this host is the internet: whoever adds one of these forwards for someone else.
_FORWARDING = frozenset(
    {
        "forwarded",
        "via",
        "client-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-request-via",
        "fastly-client-ip",
        "do-connecting-ip",
        "ali-cdn-real-ip",
        "wl-proxy-client-ip",
        "proxy-connection",
    }
)
_FORWARDING_PREFIXES = (
    "x-forwarded",
    "x-envoy-",
    "x-amzn-",
    "x-amz-cf-",
    "x-azure-",
    "x-appengine-",
    "x-arr-",
    "x-fc-",
    "x-vercel-",
    "x-nf-",
    "cf-",
    "cdn-",
    "eagleeye-",
    "fly-",
    "ngrok-",
    "tailscale-",
)


def is_local(scope: Scope) -> bool:
    """Whether the request comes from this machine and, as far as it says, from nowhere else."""
    if scope.get("http_version") == "1.0":  # what proxies speak by default (nginx before 1.29.7), and no MCP client
        return False
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_loopback_name(hosts[0]):
        return False
    return not any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES) for name in headers)


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
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback
