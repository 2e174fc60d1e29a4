"""What Function Compute says about a request.

It says so in x-fc-* headers. A client cannot send those: the platform refuses such requests. So they are believed, but
only in a process that Function Compute runs; this package is not part of any other. One that is there twice is not
believed: then somebody besides the platform wrote it. Nothing that a client gains by forging one is worth more than the
request itself: tokens need MCP_MINT_KEY, hooks do nothing twice.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

HTTP_TRIGGER = "/http-invoke"  # the control path of what anyone on the internet sends

Headers = Iterable[tuple[bytes, bytes]]

SECRET_HEADERS = frozenset({b"x-fc-access-key-id", b"x-fc-access-key-secret", b"x-fc-security-token"})


@dataclass(frozen=True, slots=True)
class Keys:
    """The role's temporary credentials, as of this request."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """`control_path` is how the request came in: "/http-invoke" through the HTTP trigger, "/invoke" through the API,
    "/initialize" from the platform itself; "" if it does not say."""

    request_id: str = ""
    control_path: str = ""
    keys: Keys | None = None

    @classmethod
    def of(cls, headers: Headers) -> "RequestContext":
        pairs = [(name.lower(), value) for name, value in headers if name.lower().startswith(b"x-fc-")]
        count = Counter(name for name, _ in pairs)
        said = {name: value.decode("latin-1").strip() for name, value in pairs if count[name] == 1}
        parts = [said.get(name, "") for name in (b"x-fc-access-key-id", b"x-fc-access-key-secret")]
        token = said.get(b"x-fc-security-token", "")
        keys = Keys(parts[0], parts[1], token) if all(parts) and token else None  # without a role they are empty
        came_by = said.get(b"x-fc-control-path", "")
        if count[b"x-fc-control-path"] > 1:
            came_by = HTTP_TRIGGER  # a client wrote one of them
        return cls(said.get(b"x-fc-request-id", ""), came_by, keys)


def without_secrets(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that the application may see."""
    return [(name, value) for name, value in headers if name.lower() not in SECRET_HEADERS]
