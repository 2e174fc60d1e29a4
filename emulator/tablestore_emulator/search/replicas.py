"""An index as the service runs it: several copies, each some way behind the rows."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .index import SearchIndex
from .ports import SearchSettings
from .schema import IndexSpec
from .values import Key, Row

Clock = Callable[[], float]  # seconds


class Change(NamedTuple):
    time: float
    key: Key
    row: Row | None


class Replicas:
    """Takes every change at once, and shows it when its time has come. Not thread-safe."""

    def __init__(
        self, spec: IndexSpec, rows: Iterable[tuple[Key, Row]], settings: SearchSettings, clock: Clock
    ) -> None:
        """`rows`: what is there already, visible at once."""
        self._spec = spec
        self._settings = settings
        self._clock = clock
        self._random = random.Random(settings.seed)  # noqa: S311 - which copy answers, not a secret
        self._copies = [SearchIndex(spec) for _ in range(max(settings.replicas, 1))]
        self._log: deque[Change] = deque()
        self._applied = [0] * len(self._copies)  # changes of `_log` that the copy has seen
        for key, row in rows:
            for copy in self._copies:
                copy.apply(key, row)

    def write(self, key: Key, row: Row | None) -> None:
        """A committed change; None: the row is gone."""
        self._log.append(Change(self._clock(), key, row))
        self._catch_up()

    def reader(self) -> SearchIndex:
        """The copy that answers now."""
        self._catch_up()
        return self._random.choice(self._copies)

    def synced_until(self) -> float:
        """The time before which every change is visible in every copy."""
        self._catch_up()
        return self._log[0].time if self._log else self._clock()

    def _catch_up(self) -> None:
        now = self._clock()
        for number, copy in enumerate(self._copies):
            lag = self._settings.lag * (number + 1) / len(self._copies)
            while self._applied[number] < len(self._log):
                change = self._log[self._applied[number]]
                if change.time + lag > now:
                    break
                copy.apply(change.key, change.row)
                self._applied[number] += 1
        for _ in range(min(self._applied)):
            self._log.popleft()
        self._applied = [seen - min(self._applied) for seen in self._applied]
