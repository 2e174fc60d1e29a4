"""The variables by which HTTP libraries find a proxy and the certificates to trust.

They are the libraries' to read; here they are looked at before the start, because what is wrong in them shows much
later, at the first call, and as an address that cannot be used.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES = ("http", "https", "socks5", "socks5h")
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_KEY_LOG = "SSLKEYLOGFILE"


def mistakes(environ: Mapping[str, str], *, calls_others: bool = True) -> list[str]:
    """One sentence per variable that would be in the way. Touches files, but no network.

    `calls_others`: whether this process will be anybody's client. The key log is in the way of every process: Python
    opens it for each TLS context, and aiohttp, which the Tablestore SDK imports, makes one when it is imported.
    """
    proxies, trust = (_proxies(environ), _TRUST) if calls_others else ({}, ())
    wrong = [
        f"{variable} cannot be used: write an address such as http://127.0.0.1:7890 or socks5://127.0.0.1:7891."
        for variable, value in proxies.items()
        if not _is_proxy(value)
    ]
    for variable in (*trust, _KEY_LOG):
        value = environ.get(variable, "")
        if value and (why := _unusable(variable, value)):
            wrong.append(f"{variable}={value} cannot be used: {why}.")
    return wrong


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of them that another process needs to reach the same addresses."""
    names = (*_TRUST, "NO_PROXY", "no_proxy")
    return {**_proxies(environ), **{name: environ[name] for name in names if environ.get(name)}}


def holds_secret(value: str, *, bare: bool = False) -> bool:
    """Whether `value` is an address with a password, or with a query, in which keys travel too. `bare`: it is an
    address though it may not say so (`me:password@proxy:8080`)."""
    if any(c.isspace() for c in value) or ("://" not in value and not bare):
        return False
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
    except ValueError:
        return True
    return "@" in parts.netloc or bool(parts.query)


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """By variable; the lower-case name wins, as everywhere (urllib.request.getproxies_environment)."""
    found = {}
    for name in _PROXIES:
        variable = name.lower() if name.lower() in environ else name
        if value := environ.get(variable, ""):
            found[variable] = value
    return found


def _is_proxy(value: str) -> bool:
    if not value.isprintable() or any(c.isspace() for c in value):
        return False
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of brackets
        return False


def _unusable(variable: str, value: str) -> str | None:
    """Why, in a few words; None if it will do."""
    try:
        if variable == _KEY_LOG:
            with Path(value).open("ab"):  # creates it, as the TLS library would
                return None
        if variable == "SSL_CERT_DIR" or (variable == "REQUESTS_CA_BUNDLE" and Path(value).is_dir()):
            return None if any(Path(place).is_dir() for place in value.split(os.pathsep)) else "there is no such folder"
        import ssl  # takes a moment, and few need it

        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except ValueError:  # an SSLError is an OSError
        return "it cannot be read"
    except OSError as e:
        return (e.strerror or "it holds no certificate").lower() if e.errno else "it holds no certificate"
    return None
