"""The same text said again costs no LLM call, as long as all that came of it is as it was.

A memory is marked with what was asked when it got its text, and with how many memories got theirs then. Whatever gives
it another text takes the mark away, so any instance can tell from a snapshot whether all of them still stand.
"""

import secrets
from collections import Counter

from ...store.model import Snapshot, text_hash
from ..unit_of_work import UnitOfWork, is_living, now_ms


def asked(*parts: str) -> str:
    """A short name for what a model was asked: all that its answer may depend on, today's date included."""
    return text_hash("\n".join(parts))[:16]


def sign(unit: UnitOfWork, name: str) -> UnitOfWork:
    """Mark what came of `name`. One that deleted something is not marked: nothing is left to look at."""
    events = [outcome.event for outcome in unit.outcomes]
    if events and "DELETE" not in events:
        unit.sign(f"{name} {len(events)} {secrets.token_hex(4)}")  # at random: two adds of one text are not one
    return unit


def stands(snapshot: Snapshot, name: str) -> bool:
    """Whether `name` was asked before, and every memory that it made or changed is as it left it."""
    now = now_ms()
    left = Counter(
        m.source for m in snapshot.memories.values() if m.source and m.source.startswith(name) and is_living(m, now)
    )
    return any(found == int(source.split()[1]) for source, found in left.items())
