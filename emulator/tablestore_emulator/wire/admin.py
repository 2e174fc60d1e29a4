"""The admin endpoint: look at the emulator and change its faults while it runs.

    GET  /_admin/faults        the faults, with how often each rule has fired
    PUT  /_admin/faults        change some of them (JSON; see faults.py)
    GET  /_admin/calls         how often each API was called
    GET  /_admin/units         capacity units consumed by rows: {"read", "write"}
    PUT  /_admin/credentials   add an access key: {"key_id", "secret", "token"?, "expires_at"?}

Every request carries `Authorization: Bearer <secret of an access key>`: a data directory may hold somebody's memories.
"""

import json
from collections import Counter
from typing import Any

from ..faults import Faults, InvalidFault
from ..protocol.auth import Authenticator, Credential
from .connection import Request

PREFIX = "/_admin/"

Answer = tuple[int, dict[str, str], bytes]


class Admin:
    """Answers requests below PREFIX."""

    def __init__(self, auth: Authenticator, faults: Faults, calls: Counter[str], units: Counter[str]) -> None:
        self._auth = auth
        self._faults = faults
        self._calls = calls
        self._units = units

    def owns(self, path: str) -> bool:
        return path.startswith(PREFIX)

    def handle(self, request: Request) -> Answer:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._auth.is_secret(secret):
            return _json(401, {"error": "Authorization: Bearer <secret of an access key> is needed"})
        try:
            return self._route(request.method, request.path.removeprefix(PREFIX), request.body)
        except (InvalidFault, ValueError, KeyError, TypeError) as e:
            return _json(400, {"error": str(e)})

    def _route(self, method: str, what: str, body: bytes) -> Answer:
        match method, what:
            case "GET", "faults":
                return _json(200, self._faults.describe())
            case "PUT", "faults":
                self._faults.change(json.loads(body))
                return _json(200, self._faults.describe())
            case "GET", "calls":
                return _json(200, dict(self._calls))
            case "GET", "units":
                return _json(200, dict(self._units))
            case "PUT", "credentials":
                given = json.loads(body)
                expires_at = given.get("expires_at")
                self._auth.put(
                    Credential(
                        str(given["key_id"]),
                        str(given["secret"]),
                        given.get("token"),
                        None if expires_at is None else float(expires_at),
                    )
                )
                return _json(200, {})
        return _json(404, {"error": f"there is no {method} {PREFIX}{what}"})


def _json(status: int, value: Any) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
