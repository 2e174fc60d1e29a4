"""A word about what release 1.x left behind, once, in the log: a user who upgrades would see an empty memory."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

DELAY = 5.0  # seconds after the start: neither the first answer nor a cold start waits for it


def look_later(find: Callable[[], str | None], delay: float = DELAY) -> None:
    """Log what `find` says, if anything, from a thread of its own. A failure is nobody's business."""
    timer = threading.Timer(delay, _look, (find,))
    timer.name, timer.daemon = "legacy-notice", True
    timer.start()


def _look(find: Callable[[], str | None]) -> None:
    try:
        notice = find()
    except Exception as e:  # the store is away, say: the call that needs it will report it
        logger.debug("whether release 1.x left something is not known: %s", type(e).__name__)
        return
    if notice:
        logger.warning("%s", notice)
