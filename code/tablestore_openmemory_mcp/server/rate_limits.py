"""How often a user may call, so that one cannot spend everyone's LLM budget or threads."""

import time
from collections import OrderedDict

from ..errors import LimitExceeded

REMEMBERED = 10_000  # users; who was not seen for longest starts anew


class Rates:
    """At most `per_minute` calls per user, any number of them at once (a token bucket)."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # user → (calls in the bucket, when)

    def spend(self, user: str) -> None:
        """Count one call. Raises LimitExceeded, and then it does not count."""
        now = time.monotonic()
        calls, at = self._spent.pop(user, (0.0, now))
        calls = max(0.0, calls - (now - at) * self._per_minute / 60)
        allowed = calls + 1 <= self._per_minute
        self._spent[user] = (calls + allowed, now)
        if len(self._spent) > REMEMBERED:
            self._spent.popitem(last=False)
        if not allowed:
            raise LimitExceeded(
                f"This user makes more than {self._per_minute} calls per minute; nothing was done. Call again in a "
                "moment.",
                setting="MAX_REQUESTS_PER_MINUTE",
            )
