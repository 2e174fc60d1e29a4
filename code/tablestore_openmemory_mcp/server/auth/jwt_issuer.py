"""Tokens of an external issuer (MCP_AUTH=jwt): an OAuth or OpenID Connect server whose public keys we read."""

import http.client
import time
from typing import Any

import jwt

from ...scope import InvalidName, valid_name
from ..caller import Principal
from .cached_value import Held, Refreshed
from .json_fetch import json_document
from .tokens import LEEWAY, BadToken

# Public-key algorithms only: with an HMAC one, a public key would be the secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

KEYS_FRESH = 600.0  # seconds
KEYS_RETRY = 30.0  # seconds between reads: tokens with made-up key ids must not make us ask the issuer each time
REST = 5.0  # the same after a read that failed
TIMEOUT = 5.0  # seconds for one document; there are two


class IssuerUnreachable(Exception):
    """The issuer's keys could not be read, now or earlier."""


class Issuer:
    """Blocking and thread-safe. `jwks_url` None: found in the issuer's OpenID configuration."""

    def __init__(self, issuer: str, audience: str, user_claim: str, jwks_url: str | None) -> None:
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim
        self._jwks_url = jwks_url
        self._keys = Refreshed(self._read_keys, "The issuer's keys are still being read.")

    def check(self, token: str) -> Principal:
        """Whose token it is: that one user, with any client. Raises BadToken, or IssuerUnreachable or StoreUnavailable
        if that cannot be found out now."""
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
        keys, at = self._newest(KEYS_FRESH)
        if key_id not in keys and time.monotonic() - at > KEYS_RETRY:
            keys, _ = self._newest(KEYS_RETRY)
        if key_id not in keys:
            raise BadToken("it was signed with a key that its issuer does not publish")
        return keys[key_id]

    def _newest(self, fresh: float) -> Held[dict[str, jwt.PyJWK]]:
        return self._keys.get(fresh=fresh, patience=2 * TIMEOUT, rest=REST)

    def _read_keys(self) -> dict[str, jwt.PyJWK]:
        try:
            if self._jwks_url is None:
                where = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
                self._jwks_url = str(json_document(where, TIMEOUT)["jwks_uri"])
            keys = jwt.PyJWKSet.from_dict(json_document(self._jwks_url, TIMEOUT)).keys
        except (OSError, http.client.HTTPException, ValueError, KeyError, RecursionError, jwt.PyJWTError) as e:
            raise IssuerUnreachable(type(e).__name__) from e
        return {key.key_id or "": key for key in keys if key.algorithm_name in ALGORITHMS}
