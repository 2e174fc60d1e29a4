"""`tablestore-openmemory-mcp migrate`: take over what release 1.x remembered. The old table is only read."""

import argparse
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from ...scope import InvalidName, Scope
from ...unicode_normalization import normalized
from ..catalogue import DONE, NOT_WELL
from .findings import Findings
from .takeover import Takeover
from .vectors import Vectors

if TYPE_CHECKING:
    from ...store.legacy.row import LegacyRow
    from ...store.legacy.table import LegacyTable
    from ..session import Session

# Where release 1.x puts everything that comes over stdio, so all of its users on Function Compute.
_SHARED = "stdio_default_user/stdio_default_client"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="table", metavar="TABLE", help="the old table; without, the one that TABLESTORE_TABLE_NAME names"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only tell what would be done")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        type=_mapping,
        metavar="OLD_USER/OLD_CLIENT=USER/CLIENT",
        help="give what was remembered under one pair of names to another; several are fine",
    )
    parser.add_argument("--user", metavar="NAME", help="take over this user's memories alone, by the old name")
    parser.add_argument("--re-embed", action="store_true", help="embed every text anew, even if the old vectors fit")
    parser.add_argument(
        "--again", action="store_true", help="bring back what was taken over before and has been deleted here since"
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")


def run(arguments: argparse.Namespace, session: "Session") -> int:
    """See CommandModule. What was committed before an error, or before SIGINT, stays; a second run goes on."""
    table = session.store.legacy(arguments.table)
    if not table.exists():
        if arguments.table:
            raise ValueError(f"there is no table {table.name} with the key of release 1.x in this instance")
        return _report(Findings(table.name, arguments.yes), arguments, session)
    session.store.ensure_tables()
    findings = Findings(table.name, arguments.yes)
    vectors = Vectors(session.memory.embedder, re_embed=arguments.re_embed)
    takeover = Takeover(
        session.store,
        session.settings,
        vectors,
        findings,
        maps=_maps(arguments.map),
        user=None if arguments.user is None else normalized("NFC", arguments.user),
        again=arguments.again,
    )
    for row in session.terminal.progress(_rows(table, vectors, strict=arguments.yes), f"Reading table {table.name}"):
        takeover.take(row)
    takeover.finish()
    findings.vectors = vectors.verdict
    if arguments.yes and arguments.user is None:
        from ...store.legacy.record import finish

        finish(session.store.sessions, table.name)
    return _report(findings, arguments, session)


def _rows(table: "LegacyTable", vectors: Vectors, *, strict: bool) -> "Iterator[LegacyRow]":
    """All rows; the vectors are judged by the first page."""
    pages = table.pages()
    first = next(pages, [])
    if first:
        vectors.judge(first, strict=strict)
    yield from chain.from_iterable(chain([first], pages))


def _report(findings: Findings, arguments: argparse.Namespace, session: "Session") -> int:
    if arguments.json:
        session.terminal.json(findings.as_json())
    else:
        for line in findings.lines():
            session.terminal.say(line)
        for line in _advice(findings):
            session.terminal.say(line)
    return DONE if findings.whole else NOT_WELL


def _advice(findings: Findings) -> Iterator[str]:
    """What to do next."""
    if not findings.rows:
        yield "There is nothing to take over."
        return
    if any(_SHARED in one.sources and f"{s.user_id}/{s.client_name}" == _SHARED for s, one in findings.scopes.items()):
        yield (
            f"Release 1.x keeps all that came over stdio, so everything on Function Compute, under {_SHARED}. To give "
            f"it to somebody: --map {_SHARED}=USER/CLIENT"
        )
    if findings.applied:
        yield "Done. The old table is as it was. Run this again if release 1.x goes on writing to it."
    else:
        yield "Nothing was changed. Add --yes to take them over; the old table stays as it is."


def _maps(pairs: list[tuple[str, Scope]]) -> Mapping[str, Scope]:
    maps = dict(pairs)
    if len(maps) < len(pairs):
        raise ValueError("--map names the same old user and client twice")
    return maps


def _mapping(text: str) -> tuple[str, Scope]:
    """("old user/old client", scope). Old names may hold anything, new ones no "=" here."""
    old, _, new = text.rpartition("=")
    user, slash, client = new.partition("/")
    if not slash or "/" not in old:
        raise argparse.ArgumentTypeError("write OLD_USER/OLD_CLIENT=USER/CLIENT")
    try:
        return normalized("NFC", old), Scope(user, client)
    except InvalidName as e:
        raise argparse.ArgumentTypeError(str(e)) from None
