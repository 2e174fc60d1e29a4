"""What only the operator may do by an event: make and revoke tokens.

The platform marks what came through its API, where RAM decides who may invoke the function. We do not depend on the
mark: if a client of the HTTP trigger could forge it, it could make itself a token for everyone. So the event must also
hold MCP_MINT_KEY, which stands in the operator's .env and in the function's variables and nowhere else. A token that
went to the log instead would stay in it; one encrypted to a key in the event would be encrypted to a forger's. The key
is not the signing secret, which never leaves the function.
"""

import hmac
import time
from argparse import ArgumentTypeError
from typing import Any

from ..commands.token import lifetime, pattern
from ..composition import Composition
from ..errors import InvalidInput
from ..settings import Settings
from .deployment_notice import MINT, pasted


def is_operator(settings: Settings, event: dict[str, Any]) -> bool:
    """Whether the event holds the mint key. Never without one set; takes as long for any wrong key."""
    key, given = settings.mcp_mint_key, event.get("key")
    if key is None or not isinstance(given, str):
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), key.get_secret_value().encode())


def token(composition: Composition, event: dict[str, Any]) -> dict[str, Any]:
    """What `{"action": "token", "key": ..., ...}` gets: a new token for "user" (and "client", else any; "expires" as
    30m, 12h, 90d or never), or "revoke" of an old one's id. Blocks. Raises InvalidInput or a StoreError."""
    if not is_operator(composition.settings, event):
        raise InvalidInput(
            f"An event makes or revokes tokens only if its 'key' is the function's MCP_MINT_KEY: `{MINT}` sends it. "
            "If there is none yet, that command makes one; deploy once, then run it again."
        )
    if ident := event.get("revoke"):
        composition.tokens().revoke(str(ident))
        return {"revoked": ident}
    if not event.get("user"):
        raise InvalidInput('Say whose token it is: "user", and perhaps "client" and "expires".')
    try:
        user, client = pattern(str(event["user"])), pattern(str(event.get("client") or "*"))
        seconds = lifetime(str(event.get("expires") or "90d"))
    except ArgumentTypeError as e:
        raise InvalidInput(str(e)) from None
    minted = composition.tokens().mint([user], [client], seconds)
    ends = None if minted.expires is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minted.expires))
    paste = pasted(composition.settings, user, client, minted.token)
    return {"token": minted.token, "id": minted.id, "expires": ends, "user": user, "client": client, "paste": paste}
