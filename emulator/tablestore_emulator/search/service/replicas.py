"""An index as the service runs it: several copies, each some way behind the rows."""

import copy
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ...faults import Faults
from ..schema import IndexSpec
from ..search_index import SearchIndex
from ..values import Key, Row

Clock = Callable[[], float]  # seconds


class Change(NamedTuple):
    time: float
    key: Key
    row: Row | None


class Replicas:
    """Takes every change at once, and shows it in each copy when that copy's time has come.

    `faults.replica_lags` has one number per copy, on top of `faults.index_lag`; searches take turns over the copies, so
    answers may go back in time. The lags are read at every use: a changed one counts for what is still pending too. A
    new copy starts as the first one is.
    """

    def __init__(self, spec: IndexSpec, rows: Iterable[tuple[Key, Row]], faults: Faults, monotonic: Clock) -> None:
        """`rows`: what is there already, visible at once."""
        self._spec = spec
        self._faults = faults
        self._clock = monotonic
        self._log: deque[Change] = deque()
        self._copies = [SearchIndex(spec)]
        self._seen = [0]  # by copy: how many changes of `_log` are in it
        self._turn = 0
        for key, row in rows:
            self.load(key, row)

    def load(self, key: Key, row: Row) -> None:
        """A row that was there already."""
        for index in self._copies:
            index.apply(key, row)

    def write(self, key: Key, row: Row | None) -> None:
        """The row has changed; None: it is gone."""
        self._log.append(Change(self._clock(), key, row))
        self._catch_up()

    def reader(self) -> SearchIndex:
        """The copy whose turn it is to answer."""
        self._catch_up()
        self._turn += 1
        return self._copies[self._turn % len(self._copies)]

    def behind(self) -> float:
        """Seconds since the oldest change that some copy does not show yet; 0 if there is none."""
        self._catch_up()
        return self._clock() - self._log[0].time if self._log else 0.0

    def _catch_up(self) -> None:
        self._resize()
        now = self._clock()
        for number, (index, own) in enumerate(zip(self._copies, self._lags(), strict=True)):
            due = now - self._faults.index_lag - own
            while self._seen[number] < len(self._log) and self._log[self._seen[number]].time <= due:
                change = self._log[self._seen[number]]
                index.apply(change.key, change.row)
                self._seen[number] += 1
        shown = min(self._seen)
        for _ in range(shown):
            self._log.popleft()
        self._seen = [seen - shown for seen in self._seen]

    def _lags(self) -> tuple[float, ...]:
        return self._faults.replica_lags or (0.0,)

    def _resize(self) -> None:
        wanted = len(self._lags())
        while len(self._copies) < wanted:
            self._copies.append(copy.deepcopy(self._copies[0]))
            self._seen.append(self._seen[0])
        del self._copies[wanted:], self._seen[wanted:]
