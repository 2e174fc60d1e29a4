"""Who asks, and whether they hold the key: signatures of versions 2 and 4, both ways, and temporary (STS) keys."""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from ..errors import OtsError, invalid
from ..rows.limits import MAX_DATE_SKEW

REQUIRED_HEADERS = ("x-ots-date", "x-ots-apiversion", "x-ots-accesskeyid", "x-ots-instancename", "x-ots-contentmd5")
ACCESS_KEY_VARIABLE = "TABLESTORE_EMULATOR_ACCESS_KEY"
_DEFAULT = "emulator:emulator"  # as published; only where nobody asked for another
_SIGNED_CHARACTERS = 64  # of a signature's date and region
_UNSIGNED = ("x-ots-signature", "x-ots-signaturev4")


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key. With `token` it is a temporary one; `expires_at` in seconds since the epoch."""

    key_id: str
    secret: str
    token: str | None = None
    expires_at: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Credential":
        """From ID:SECRET or ID:SECRET:TOKEN. Raises ValueError."""
        key_id, _, rest = text.partition(":")
        secret, _, token = rest.partition(":")
        if not key_id or not secret:
            raise ValueError("an access key is written ID:SECRET, a temporary one ID:SECRET:TOKEN")
        return cls(key_id, secret, token or None)


def access_keys(given: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[Credential]:
    """The keys to accept: those given, else the variable's, else the default. Raises ValueError: a variable that is
    set and empty is no wish for a key that everybody knows."""
    if given:
        return [Credential.parse(text) for text in given]
    try:
        return [Credential.parse(environ.get(ACCESS_KEY_VARIABLE, _DEFAULT).strip())]
    except ValueError as e:
        raise ValueError(f"{ACCESS_KEY_VARIABLE} cannot be used: {e}") from None


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller, and what its answer is signed with."""

    key_id: str
    signing_key: bytes


class Authenticator:
    """Checks requests against the known access keys. `clock`: seconds since the epoch."""

    def __init__(self, credentials: list[Credential], instance: str, clock: Callable[[], float]) -> None:
        self._credentials = {credential.key_id: credential for credential in credentials}
        self._instance = instance
        self._clock = clock

    def put(self, credential: Credential) -> None:
        """Add or replace an access key."""
        self._credentials[credential.key_id] = credential

    def remove(self, key_id: str) -> None:
        """Forget an access key."""
        self._credentials.pop(key_id, None)

    def is_secret(self, text: str) -> bool:
        """Whether `text` is the secret of a lasting access key."""
        return any(
            credential.token is None and hmac.compare_digest(text.encode(), credential.secret.encode())
            for credential in self._credentials.values()
        )

    def authenticate(self, path: str, headers: Mapping[str, str], body: bytes) -> Caller:
        """The caller. Raises OTSAuthFailed or OTSParameterInvalid."""
        for name in REQUIRED_HEADERS:
            if name not in headers:
                raise invalid(f"Missing header: '{name}'.")
        credential = self._credentials.get(headers["x-ots-accesskeyid"])
        if credential is None:
            raise OtsError("OTSAuthFailed", "The AccessKeyID does not exist.")
        caller = _verify(credential, path, headers)
        if headers["x-ots-instancename"] != self._instance:
            raise OtsError("OTSAuthFailed", "The instance is not found.")
        self._check_token(credential, headers.get("x-ots-ststoken"))
        self._check_date(headers["x-ots-date"])
        if md5(body) != headers["x-ots-contentmd5"]:
            raise OtsError(
                "OTSAuthFailed", "Mismatch between MD5 value of request body and x-ots-contentmd5 in header."
            )
        return caller

    def _check_token(self, credential: Credential, token: str | None) -> None:
        if credential.token is None:
            return
        if token is None or not hmac.compare_digest(token.encode(), credential.token.encode()):
            raise OtsError("OTSAuthFailed", "The security token is invalid.")
        if credential.expires_at is not None and self._clock() >= credential.expires_at:
            raise OtsError("OTSAuthFailed", "The security token is expired.")

    def _check_date(self, date: str) -> None:
        try:
            asked_at = datetime.strptime(date, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise invalid(f"Invalid date format: {date}.") from None
        if abs(asked_at - self._clock()) > MAX_DATE_SKEW:
            raise OtsError("OTSAuthFailed", f"Mismatch between system time and x-ots-date: {date}.")


def md5(body: bytes) -> str:
    """As x-ots-contentmd5 holds it."""
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def sign_response(caller: Caller, path: str, headers: Mapping[str, str]) -> str:
    """The Authorization header of an answer whose x-ots-* headers are `headers` (and no others)."""
    text = f"{_canonical(headers)}\n{path}"
    digest = hmac.digest(caller.signing_key, text.encode(), "sha1")
    return f"OTS {caller.key_id}:{base64.b64encode(digest).decode()}"


def _verify(credential: Credential, path: str, headers: Mapping[str, str]) -> Caller:
    text = f"{path}\nPOST\n\n{_canonical(headers)}\n"
    if "x-ots-signaturev4" in headers:
        for name in ("x-ots-signdate", "x-ots-signregion"):
            if name not in headers:
                raise invalid(f"Missing header: '{name}'.")
            if len(headers[name]) > _SIGNED_CHARACTERS:  # keys are kept by them, and nobody has proven anything yet
                raise invalid(f"Header too long: '{name}'.")
        key = _v4_key(credential.secret, headers["x-ots-signdate"], headers["x-ots-signregion"])
        given, digest = headers["x-ots-signaturev4"], hmac.digest(key, (text + "ots").encode(), "sha256")
    else:
        key = credential.secret.encode()
        given, digest = headers.get("x-ots-signature", ""), hmac.digest(key, text.encode(), "sha1")
    if not hmac.compare_digest(given.encode(), base64.b64encode(digest)):
        raise OtsError("OTSAuthFailed", "Signature mismatch.")
    return Caller(credential.key_id, key)


def _canonical(headers: Mapping[str, str]) -> str:
    signed = [f"{k}:{v.strip()}" for k, v in headers.items() if k.startswith("x-ots-") and k not in _UNSIGNED]
    return "\n".join(sorted(signed))


@lru_cache(maxsize=64)
def _v4_key(secret: str, date: str, region: str) -> bytes:
    key = f"aliyun_v4{secret}".encode()
    for part in (date, region, "ots", "aliyun_v4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return base64.b64encode(key)
