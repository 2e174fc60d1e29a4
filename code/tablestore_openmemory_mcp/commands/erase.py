"""`tablestore-openmemory-mcp erase`: all that is remembered about one user, in whatever client it was told."""

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import StoreDenied
from ..scope import InvalidName, Scope, valid_name
from ..store.legacy.record import note_erased
from .catalogue import DONE, NOT_WELL
from .terminal import shown

if TYPE_CHECKING:
    from ..store.commit.heads import Holding
    from ..store.legacy.table import LegacyTable
    from ..store.store import TablestoreStore
    from .session import Session
    from .terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", required=True, type=_user, metavar="NAME", help="the user_id")
    parser.add_argument("--yes", action="store_true", help="do it; without, only tell what there is")
    parser.add_argument(
        "--include-1x",
        action="store_true",
        help="delete the user's rows in the table of release 1.x too; asks first, unless --yes is given",
    )


def run(arguments: argparse.Namespace, session: "Session") -> int:
    """See CommandModule. What was erased before a StoreError stays erased."""
    store, user = session.store, arguments.user
    held = store.clients(user)
    old = _OldRows(store.legacy(), user)
    if not held and not old.count:
        session.terminal.say(f"Nothing was ever remembered about {user}.")
        old.tell_doubts(session.terminal)
        if arguments.yes:  # so that `migrate` does not bring what another table of release 1.x may hold
            note_erased(store.sessions, user)
        return NOT_WELL if old.denied else DONE
    if not (arguments.yes or (arguments.include_1x and _confirmed(held, old, session))):
        _tell(held, old, arguments, session)
        return DONE
    note_erased(store.sessions, user)
    for client in held:
        count = _erased(store, Scope(user, client))
        session.terminal.say(f"{_count(count)} through {client}: erased, history included")
    return _erase_old(old, session, wanted=arguments.include_1x)


class _OldRows:
    """What the table of release 1.x holds about the user, if there is one."""

    def __init__(self, table: "LegacyTable", user: str) -> None:
        self.table = table
        self.user = user
        self.clients, self.unknown = Counter[str](), 0
        self.denied = ""  # why it is not known what there is: keys may be good for our own tables alone
        try:
            if table.exists():
                self.clients, self.unknown = table.clients_of(user)
        except StoreDenied as e:
            self.denied = f"Whether table {table.name} of release 1.x holds more is not known. {e}"

    @property
    def count(self) -> int:
        return self.clients.total()

    @property
    def told(self) -> str:
        through = ", ".join(f"{n:,} through {shown(client)}" for client, n in sorted(self.clients.items()))
        return f"{_count(self.count)} in table {self.table.name} of release 1.x ({through})"

    def tell_doubts(self, terminal: "Terminal") -> None:
        """About rows that may be the user's."""
        if self.denied:
            terminal.say(self.denied)
        if self.unknown:
            terminal.say(
                f"Rows in table {self.table.name} of release 1.x that do not say whose they are: {self.unknown:,}."
            )


def _tell(held: "Mapping[str, Holding]", old: _OldRows, arguments: argparse.Namespace, session: "Session") -> None:
    """What there is, and how to erase it."""
    for client, holding in held.items():
        session.terminal.say(f"{_count(holding.count)} through {client}")
    if old.count:
        session.terminal.say(old.told)
    old.tell_doubts(session.terminal)
    session.terminal.say("Add --yes to erase them for good, their history included.")
    if old.count and not arguments.include_1x:
        session.terminal.say("The table of release 1.x is left as it is, unless --include-1x is given.")


def _confirmed(held: "Mapping[str, Holding]", old: _OldRows, session: "Session") -> bool:
    here = sum(holding.count for holding in held.values())
    more = f", and {old.told}" if old.count else ""
    return session.terminal.confirm(f"Erase for good what is known of {old.user}: {_count(here)} here{more}?")


def _erase_old(old: _OldRows, session: "Session", *, wanted: bool) -> int:
    """Delete what release 1.x has if that is `wanted`, and tell the truth about what is left."""
    say = session.terminal.say
    if old.count and wanted:
        deleted = old.table.delete_of(old.user)
        say(f"{_count(deleted)} in table {old.table.name} of release 1.x: deleted")
        left, _ = old.table.clients_of(old.user)
        if left:
            say(f"{_count(left.total())} came while this ran: run it again when release 1.x is stopped.")
        say(
            "Release 1.x also keeps a history of its own on the machine where it runs: ~/.mem0/history.db. Delete that "
            "file by hand."
        )
    elif old.count:
        left = old.clients
        say(f"Left as it was: {old.told}. To delete that too: erase --user '{old.user}' --include-1x")
    else:
        left = Counter[str]()
    old.tell_doubts(session.terminal)
    return NOT_WELL if left or old.denied else DONE


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
