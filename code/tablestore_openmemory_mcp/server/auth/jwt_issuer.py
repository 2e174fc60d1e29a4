"""Tokens of an external issuer (MCP_AUTH=jwt): an OAuth or OpenID Connect server whose public keys we read."""

import json
import threading
import time
import urllib.request
from typing import Any

import jwt

from ...scope import InvalidName, valid_name
from ..caller import Principal
from .tokens import LEEWAY, BadToken

# Public-key algorithms only: with an HMAC one, a public key would be the secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

KEYS_FRESH = 600.0  # seconds
KEYS_RETRY = 30.0  # seconds between reads: tokens with made-up key ids must not make us ask the issuer each time
TIMEOUT = 5.0
MAX_DOCUMENT = 1_000_000


class IssuerUnreachable(Exception):
    """The issuer's keys could not be read, now or earlier."""


class Issuer:
    """Blocking and thread-safe. `jwks_url` None: found in the issuer's OpenID configuration."""

    def __init__(self, issuer: str, audience: str, user_claim: str, jwks_url: str | None) -> None:
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim
        self._jwks_url = jwks_url
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")

    def check(self, token: str) -> Principal:
        """Whose token it is: that one user, with any client. Raises BadToken or IssuerUnreachable."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._key(key_id if isinstance(key_id, str) else "")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise BadToken("it has expired") from None
        except jwt.InvalidAudienceError:
            raise BadToken("it is for another audience") from None
        except jwt.InvalidIssuerError:
            raise BadToken("it is from another issuer") from None
        except jwt.InvalidTokenError:
            raise BadToken("its signature or its claims are wrong") from None
        return Principal("issuer", f"{self._issuer} {claims.get('sub', '')}", (self._user(claims),), ("*",))

    def _user(self, claims: dict[str, Any]) -> str:
        value = claims.get(self._user_claim)
        if not isinstance(value, str):
            raise BadToken(f"it has no claim {self._user_claim!r} that names the user")
        if "*" in value:  # a pattern to us, a mere character to the issuer: somebody may be called so
            raise BadToken("its user's name holds a '*'")
        try:
            return valid_name(value, "the token's user")
        except InvalidName as e:
            raise BadToken(str(e)) from None

    def _key(self, key_id: str) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._read_at
            if age > KEYS_FRESH or (key_id not in self._keys and age > KEYS_RETRY):
                self._keys = self._read_keys()
                self._read_at = time.monotonic()
            if key_id in self._keys:
                return self._keys[key_id]
        raise BadToken("it was signed with a key that its issuer does not publish")

    def _read_keys(self) -> dict[str, jwt.PyJWK]:
        try:
            if self._jwks_url is None:
                configuration = _document(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
                self._jwks_url = str(configuration["jwks_uri"])
            keys = jwt.PyJWKSet.from_dict(_document(self._jwks_url)).keys
        except (OSError, ValueError, KeyError, jwt.PyJWKSetError) as e:
            if self._keys:
                return self._keys
            raise IssuerUnreachable(type(e).__name__) from e
        return {key.key_id or "": key for key in keys if key.algorithm_name in ALGORITHMS}


def _document(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - settings.py wants http(s)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        document = json.loads(response.read(MAX_DOCUMENT))
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - like any other unusable document
    return document
