"""Log lines that repeat: the first ones of a minute are printed, the rest counted. A peer that can cause a line must
not be able to fill a disk with it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

PER_MINUTE = 30  # lines of one statement in the code
_MINUTE = 60.0


@dataclass(slots=True)
class _Window:
    began: float  # seconds since the epoch
    passed: int
    last: logging.LogRecord
    left_out: int = 0


class Repeats:
    """Counts by statement (logger and line of code), so what is remembered is bounded by the code. Not for several
    threads."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._windows: dict[tuple[str, str, int], _Window] = {}
        self._oldest = float("inf")

    def passes(self, record: logging.LogRecord) -> bool:
        """Whether to print it. What does not pass is counted."""
        statement = (record.name, record.pathname, record.lineno)
        window = self._windows.get(statement)
        if window is None:
            window = self._windows[statement] = _Window(record.created, 0, record)
            self._oldest = min(self._oldest, record.created)
        if window.passed < self._per_minute:
            window.passed += 1
            return True
        window.left_out += 1
        window.last = record
        return False

    def over(self, now: float) -> Iterator[logging.LogRecord]:
        """For each statement whose minute is over at `now` (seconds since the epoch), and that was left out: the record
        that says how often. Its count begins anew."""
        if now - self._oldest < _MINUTE and now >= self._oldest:
            return
        for statement, window in list(self._windows.items()):
            if now - window.began >= _MINUTE or now < window.began:  # or the clock was set back
                del self._windows[statement]
                if window.left_out:
                    yield _told(window)
        self._oldest = min((window.began for window in self._windows.values()), default=float("inf"))


def _told(window: _Window) -> logging.LogRecord:
    last = window.last
    fields = {"where": f"{last.module}:{last.lineno}", "message": f"… repeated {window.left_out} times"}
    told = logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, "", (), None)
    told.fields = fields
    return told
