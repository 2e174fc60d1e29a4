"""`tablestore-openmemory-mcp token`: make a token and show what to paste, or revoke one."""

import argparse
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..composition import Composition
from ..scope import InvalidName, valid_name
from ..server.startup.client_config import block, remote, shown
from ..settings import Settings
from .catalogue import DONE

if TYPE_CHECKING:  # jwt takes a while to import, and Function Compute reads `lifetime` and `pattern` alone
    from ..server.auth.tokens import Minted
    from .session import Session

_UNITS = {"m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="append", type=pattern, metavar="NAME", help="user_id; '*' in it matches all")
    parser.add_argument(
        "--client",
        action="append",
        type=pattern,
        metavar="NAME",
        help="client_name; '*', the default, matches all",
    )
    parser.add_argument("--expires", type=lifetime, default=90 * 86_400, metavar="90d", help="30m, 12h, 90d or never")
    parser.add_argument("--revoke", metavar="ID", help="refuse the token with this id from now on")


def run(arguments: argparse.Namespace, session: "Session") -> int:
    """See CommandModule."""
    if not arguments.user and not arguments.revoke:
        raise ValueError("say whose token it is: --user NAME (several are fine), or --revoke ID")
    # With a secret of its own, a deployment's tokens can be made anywhere: no store is asked, no folder needed.
    alone = session.settings.auth_secrets and not arguments.revoke
    tokens = Composition(session.settings).tokens() if alone else session.composition.tokens()
    if arguments.revoke:
        tokens.revoke(arguments.revoke)
        session.terminal.say(
            f"Token {arguments.revoke} is refused by every server from now on; at the latest in half a minute."
        )
        return DONE
    minted = tokens.mint(arguments.user, arguments.client or ["*"], arguments.expires)
    session.terminal.say(_told(minted, arguments.user, arguments.client or ["*"], session.settings))
    return DONE


def _told(minted: "Minted", users: Sequence[str], clients: Sequence[str], settings: Settings) -> str:
    ends = "never" if minted.expires is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(minted.expires))
    url = remote(settings, "sse", _literal(users, "{user_id}"), _literal(clients, "{client_name}"))
    url = url.replace("%7B", "{").replace("%7D", "}")
    return "\n".join(
        [
            f"token    {minted.token}",
            f"id       {minted.id} (to revoke it: token --revoke {minted.id})",
            f"expires  {ends}",
            f"users    {', '.join(users)}",
            f"clients  {', '.join(clients)}",
            "",
            "Paste into Cline, over SSE:",
            shown(block(settings, "sse", url, minted.token)),
        ]
    )


def _literal(patterns: Sequence[str], placeholder: str) -> str:
    return patterns[0] if len(patterns) == 1 and "*" not in patterns[0] else placeholder


def pattern(text: str) -> str:
    """A name in which "*" matches anything. Raises ArgumentTypeError, whose text says what is accepted."""
    try:
        return valid_name(text, "a name")
    except InvalidName as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def lifetime(text: str) -> float | None:
    """Seconds, or None for "never". Raises ArgumentTypeError, whose text says what is accepted."""
    if text == "never":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError("write 30m, 12h, 90d or never")
    return int(match[1]) * _UNITS[match[2]]
