"""Reading the rows of an index a little at a time, so that nobody waits for an index that he did not ask."""

import time
from collections.abc import Callable, Iterable, Iterator

from ..values import Key, Row
from .replicas import Replicas


class Loading:
    """An index on its way into memory. Rows that are written meanwhile go into `content` as they come: a row that is
    read later is the one that was written."""

    def __init__(self, content: Replicas, rows: Iterable[tuple[Key, Row]]) -> None:
        self.content = content
        self.over = False  # all of it is there, or it was given up
        self.failed = False
        self.waiting: list[Callable[[], None]] = []  # whom to ask again when it is over
        self._rows: Iterator[tuple[Key, Row]] = iter(rows)

    def step(self, seconds: float) -> bool:
        """Go on for so long; whether it is over."""
        until = time.monotonic() + seconds
        try:
            while not self.over and time.monotonic() < until:
                found = next(self._rows, None)
                if found is None:
                    self.over = True
                else:
                    self.content.load(*found)
        except Exception:  # damage, for instance: whoever asks meets it again, where it is dealt with
            self.over = self.failed = True
        return self.over


class NotLoaded(Exception):
    """The same request can be answered when `loading` is over."""

    def __init__(self, loading: Loading) -> None:
        super().__init__("the index is being read into memory")
        self.loading = loading
