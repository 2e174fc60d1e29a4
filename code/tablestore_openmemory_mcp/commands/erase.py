"""`tablestore-openmemory-mcp erase`: all that is remembered about one user, in whatever client it was told."""

import argparse
from typing import TYPE_CHECKING

from ..scope import InvalidName, Scope, valid_name
from .catalogue import DONE

if TYPE_CHECKING:
    from ..store.store import TablestoreStore
    from .session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", required=True, type=_user, metavar="NAME", help="the user_id")
    parser.add_argument("--yes", action="store_true", help="do it; without, only tell what there is")


def run(arguments: argparse.Namespace, session: "Session") -> int:
    """See CommandModule. What was erased before a StoreError stays erased."""
    store, say = session.store, session.terminal.say
    held = store.clients(arguments.user)
    if not held:
        say(f"Nothing was ever remembered about {arguments.user}.")
    elif not arguments.yes:
        for client, holding in held.items():
            say(f"{_count(holding.count)} through {client}")
        say("Add --yes to erase them for good, their history included.")
    else:
        for client in held:
            count = _erased(store, Scope(arguments.user, client))
            say(f"{_count(count)} through {client}: erased, history included")
    return DONE


def _erased(store: "TablestoreStore", scope: Scope) -> int:
    count = store.scope(scope).delete_all()
    # What a sweep leaves when it is cut short is the next writer's, and there may be none. Each round removes some.
    while not store.scope(scope).sweep():
        pass
    return count


def _count(count: int) -> str:
    return f"{count:,} memor{'y' if count == 1 else 'ies'}"


def _user(name: str) -> str:
    try:
        return valid_name(name, "the user")
    except InvalidName as e:
        raise argparse.ArgumentTypeError(str(e)) from None
