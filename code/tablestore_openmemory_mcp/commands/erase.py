"""`tablestore-openmemory-mcp erase`: all that is remembered about one user, in whatever client it was told."""

import argparse
from typing import TYPE_CHECKING

from ..scope import InvalidName, Scope, valid_name

if TYPE_CHECKING:  # the parser is built at every start
    from ..store.store import TablestoreStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", required=True, type=_user, metavar="NAME", help="the user_id")
    parser.add_argument("--yes", action="store_true", help="do it; without, only tell what there is")


def run(arguments: argparse.Namespace, store: "TablestoreStore") -> str:
    """What to print. Raises a StoreError; what was erased by then stays erased."""
    held = store.clients(arguments.user)
    if not held:
        return f"Nothing was ever remembered about {arguments.user}."
    if not arguments.yes:
        lines = [f"{_count(holding.count)} through {client}" for client, holding in held.items()]
        return "\n".join([*lines, "Add --yes to erase them for good, their history included."])
    erased = {client: _erased(store, Scope(arguments.user, client)) for client in held}
    return "\n".join(f"{_count(count)} through {client}: erased, history included" for client, count in erased.items())


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
