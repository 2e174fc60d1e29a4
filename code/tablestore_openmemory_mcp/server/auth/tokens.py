"""This deployment's own tokens: signed, for some users and clients, revocable by id.

A token is a JWT (HS256). The first secret signs, all of them verify: to rotate, put a new one first, and drop the old
one when the tokens it signed have expired. Without MCP_AUTH_SECRET there is one secret per deployment, kept in the
store and made by whoever needs it first. So any instance knows any token.
"""

import hashlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple, Protocol

import jwt

from ...errors import StoreError, StoreUnavailable
from ...values import MIN_SECRET
from ..caller import Principal
from .cached_value import Refreshed

logger = logging.getLogger(__name__)

ISSUER = "tablestore-openmemory-mcp"
LEEWAY = 30  # seconds that clocks may disagree
REVOKED_FRESH = 30.0  # seconds until a revocation is known everywhere
RETRY = 5.0  # seconds between attempts while the store is away: nobody shall wait for it at every call
REVOKED_SECONDS = 3.0  # of one attempt
FIRST_SECONDS = 30.0  # to read the list or the secret for the first time, and so to make the tables of a new instance
REVOKED_STALE = 900.0  # seconds a known list is good for while the store is away
REMEMBERED = 1_000  # tokens whose signature was verified; whose was longest ago is verified anew


class BadToken(Exception):
    """The token is not good. The text says why, never what it was."""


class Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...


class Rows(Protocol):
    """What tokens need of store/session_rows.py."""

    def secret(self, name: str, *, deadline: float) -> str: ...
    def list(self, kind: str, *, deadline: float) -> Sequence[Row]: ...
    def put(self, kind: str, id_: str, n: int, columns: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token. `id` revokes it; `expires` in seconds since the epoch, None for never."""

    token: str
    id: str
    expires: int | None


class _Verified(NamedTuple):
    """What a token with a good signature says."""

    principal: Principal
    expires: float  # seconds since the epoch


class Tokens:
    """Blocking, all but `known`, and thread-safe; one per process. `rows` gives the store's rows, asked for at first
    need."""

    def __init__(self, secrets: Sequence[str], rows: Callable[[], Rows]) -> None:
        self._rows = rows
        self._given = _keyed(secrets)
        self._kept = Refreshed(self._kept_secret, "The signing secret is still being read from the store.")
        self._revoked = Refreshed(self._read_revoked, "The list of revoked tokens is still being read.")
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()  # by the token's digest, the oldest first
        self._lock = threading.Lock()

    def mint(self, users: Sequence[str], clients: Sequence[str], lifetime: float | None) -> Minted:
        """A token for users and clients that match these patterns ("*" stands for anything), good for `lifetime`
        seconds or for ever. Raises a StoreError if the secret lives in the store and that is away."""
        key_id, key = next(iter(self._all_keys().items()))
        now, ident = int(time.time()), token_hex(8)
        expires = None if lifetime is None else now + int(lifetime)
        claims = {"iss": ISSUER, "jti": ident, "iat": now, "users": list(users), "clients": list(clients)}
        if expires is not None:
            claims["exp"] = expires
        return Minted(jwt.encode(claims, key, "HS256", headers={"kid": key_id}), ident, expires)

    def check(self, token: str) -> Principal:
        """Whose token it is. Raises BadToken, or a StoreError if that cannot be found out."""
        claims = self._decoded(token)
        ident, users, clients = (claims.get(name) for name in ("jti", "users", "clients"))
        if not isinstance(ident, str):
            raise BadToken("it has no id")
        if ident in self._revoked_ids():
            raise BadToken("it was revoked")
        principal = Principal("token", ident, _patterns(users), _patterns(clients))
        with self._lock:
            self._verified.pop(_digest(token), None)
            self._verified[_digest(token)] = _Verified(principal, float(claims.get("exp", math.inf)))
            while len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        return principal

    def known(self, token: str) -> Principal | None:
        """What `check` would say, where that is known without reading the signature again or asking the store. Never
        blocks; None says nothing about the token."""
        with self._lock:
            verified = self._verified.get(_digest(token))
        revoked = self._revoked.held
        if verified is None or revoked is None or time.monotonic() - revoked.at > REVOKED_FRESH:
            return None
        if verified.principal.id in revoked.value or verified.expires <= time.time() - LEEWAY:
            return None
        return verified.principal

    def revoke(self, ident: str) -> None:
        """Refuse the token with this id; known to every instance within REVOKED_FRESH seconds. Raises a StoreError."""
        self._rows().put("revoked", ident, 0, {"at": int(time.time())})
        self._revoked.forget()

    def _decoded(self, token: str) -> dict[str, Any]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._all_keys().get(key_id) if isinstance(key_id, str) else None
            if key is None:
                raise BadToken("it was not signed by this server")
            return jwt.decode(token, key, ["HS256"], issuer=ISSUER, leeway=LEEWAY)
        except jwt.ExpiredSignatureError:
            raise BadToken("it has expired") from None
        except jwt.InvalidTokenError:
            raise BadToken("it was not signed by this server") from None

    def _all_keys(self) -> dict[str, bytes]:
        """By key id, the signing one first."""
        return self._given or self._kept.get(fresh=math.inf, patience=FIRST_SECONDS, rest=RETRY).value

    def _kept_secret(self) -> dict[str, bytes]:
        secret = self._rows().secret("auth", deadline=time.monotonic() + FIRST_SECONDS)
        if len(secret) < MIN_SECRET:  # signed with an empty key, anyone's token would be good
            raise StoreError("The signing secret in the store is damaged: set MCP_AUTH_SECRET, or delete its row.")
        return _keyed([secret])

    def _revoked_ids(self) -> frozenset[str]:
        patience = REVOKED_SECONDS if self._revoked.held else FIRST_SECONDS
        ids, at = self._revoked.get(fresh=REVOKED_FRESH, patience=patience, rest=RETRY)
        if time.monotonic() - at > REVOKED_STALE:
            raise StoreUnavailable("The list of revoked tokens could not be read.")
        return ids

    def _read_revoked(self) -> frozenset[str]:
        patience = REVOKED_SECONDS if self._revoked.held else FIRST_SECONDS
        try:
            rows = self._rows().list("revoked", deadline=time.monotonic() + patience)
        except StoreError as e:
            logger.warning("the list of revoked tokens could not be read: %s", e)
            raise
        return frozenset(row.id for row in rows)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _keyed(secrets: Sequence[str]) -> dict[str, bytes]:
    return {_key_id(secret): secret.encode() for secret in secrets}


def _key_id(secret: str) -> str:
    return hashlib.sha256(b"kid\0" + secret.encode()).hexdigest()[:8]


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BadToken("it does not say whom it is for")
    return tuple(value)
