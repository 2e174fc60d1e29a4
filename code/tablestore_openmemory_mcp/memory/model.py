"""What the memory service takes and gives. Plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..store.model import Memory

# Called from the worker thread with a short English phrase ("extracting", "comparing with 5 memories", "writing").
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an add or an update did to one memory. `note`: what the caller should know of it (update only)."""

    id: str
    memory: str
    event: Literal["ADD", "UPDATE", "DELETE"]
    previous_memory: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result. `score` is (1 + cos) / 2, as the reference reported it; None where no vector took part.
    `note` marks a result that does not match ("newest", when a keyless search found nothing)."""

    memory: Memory
    score: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class AddResult:
    """`message` is set when nothing was stored, and says why (an error is raised instead when it failed). `related`:
    other memories that may be about the same, which nobody has compared with it yet (verbatim pipeline only)."""

    results: Sequence[Outcome]
    message: str | None = None
    related: Sequence[Hit] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `cursor` is opaque; None on the last page. `total` counts the whole scope."""

    memories: Sequence[Memory]
    total: int
    cursor: str | None = None
