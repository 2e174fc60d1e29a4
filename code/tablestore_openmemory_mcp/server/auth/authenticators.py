"""Who decides at the door, by MCP_AUTH."""

import logging
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.to_thread
from starlette.types import Scope

from ...errors import StoreError
from ...settings import Settings
from ..caller import Principal
from .jwt_issuer import Issuer, IssuerUnreachable
from .loopback import is_local
from .peers.owner import OwnUser
from .refusal import Refused
from .tokens import BadToken, Tokens

logger = logging.getLogger(__name__)

ANONYMOUS = Principal("anonymous")
LOCAL = Principal("local")
MAX_TOKEN = 8_192  # characters

HOW_TO_COME_IN = (
    "Without a token this server answers only programs of the user who runs it, on the same machine, that call it as "
    "localhost and not through a proxy. Send 'Authorization: Bearer <token>'; `tablestore-openmemory-mcp token --user "
    "<user_id>` makes one. To serve anyone on a network that you trust, start it with MCP_AUTH=anonymous."
)
ANOTHER_USER = (
    "This connection comes from this machine, but from a program that does not run as the user who runs the server, or "
    "runs in another container: a proxy, a tunnel or, under WSL, Windows. "
)


class Authenticator(Protocol):
    """Decides one request."""

    async def admit(self, scope: Scope) -> Principal:
        """Who it is. Raises Refused."""
        ...


class AnonymousAuthenticator:
    """MCP_AUTH=anonymous: the operator has decided that the network in front of this server is the lock."""

    async def admit(self, scope: Scope) -> Principal:
        return ANONYMOUS


class TokenAuthenticator:
    """A bearer token, or no token at all from this machine's own user, if `own_user` is there to tell.

    `check` blocks. It raises BadToken, or a StoreError or IssuerUnreachable if it cannot tell. `known` never blocks: it
    says what `check` would, or None.
    """

    def __init__(
        self,
        check: Callable[[str], Principal],
        known: Callable[[str], Principal | None] = lambda _: None,
        *,
        own_user: OwnUser | None,
        challenge: str,
        help_: str,
    ) -> None:
        self._check = check
        self._known = known
        self._own_user = own_user
        self._challenge = challenge
        self._help = help_
        self._threads = anyio.CapacityLimiter(16)

    async def admit(self, scope: Scope) -> Principal:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            return await self._without_token(scope)
        kind, _, token = given[0].strip().partition(" ")
        if len(given) > 1 or kind.lower() != "bearer" or not 0 < len(token.strip()) <= MAX_TOKEN:
            raise self._bad("the Authorization header is not 'Bearer <token>'")
        if (known := self._known(token.strip())) is not None:
            return known
        try:
            return await anyio.to_thread.run_sync(self._check, token.strip(), limiter=self._threads)
        except BadToken as e:
            raise self._bad(str(e)) from None
        except (StoreError, IssuerUnreachable) as e:
            logger.warning("a token could not be checked: %s", e)
            raise Refused(503, "Tokens cannot be checked at the moment; call again soon.", {"Retry-After": "5"}) from e

    async def _without_token(self, scope: Scope) -> Principal:
        why = ""
        if self._own_user and is_local(scope):
            if await self._own_user.sent(scope):
                return LOCAL
            why = ANOTHER_USER
        raise Refused(401, why + self._help, {"WWW-Authenticate": self._challenge})

    def _bad(self, why: str) -> Refused:
        challenge = f'{self._challenge}{"," if " " in self._challenge else ""} error="invalid_token"'
        return Refused(401, f"This token is not accepted: {why}.", {"WWW-Authenticate": challenge})


def authenticator(settings: Settings, tokens: Callable[[], Tokens]) -> Authenticator:
    """The authenticator that `settings` ask for. `tokens` is called on worker threads, at first need."""
    if settings.mcp_auth == "anonymous":
        return AnonymousAuthenticator()
    if settings.mcp_auth == "jwt":
        issuer = Issuer(
            settings.mcp_auth_issuer or "",
            settings.mcp_auth_audience or "",
            settings.mcp_auth_user_claim,
            settings.mcp_auth_jwks_url,
        )
        metadata = f"{(settings.mcp_public_url or '').rstrip('/')}/.well-known/oauth-protected-resource"
        help_ = f"A token of {settings.mcp_auth_issuer} is needed: send 'Authorization: Bearer <token>'."
        return TokenAuthenticator(
            issuer.check, own_user=None, challenge=f'Bearer resource_metadata="{metadata}"', help_=help_
        )
    # No resource metadata: there is no OAuth server to discover, and clients would go looking for one.
    own = _OwnTokens(tokens)
    return TokenAuthenticator(
        own.check,
        own.known,
        own_user=OwnUser() if settings.local_is_free else None,
        challenge=f'Bearer realm="{settings.tablestore_table_name}"',
        help_=HOW_TO_COME_IN,
    )


class _OwnTokens:
    """Tokens that are built at the first check, on its worker thread."""

    def __init__(self, tokens: Callable[[], Tokens]) -> None:
        self._build = tokens
        self._tokens: Tokens | None = None

    def check(self, token: str) -> Principal:
        self._tokens = self._build()
        return self._tokens.check(token)

    def known(self, token: str) -> Principal | None:
        return self._tokens.known(token) if self._tokens is not None else None
