"""A query's vector, if the embedder gives it soon: a search can do without, by words.

An embedder that is away is remembered for a while, so that not every search waits for it. What was asked goes on in the
background: a local model that takes its time to load is there for the next search.
"""

import logging
import threading
import time

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionMismatch, ModelDenied, ModelError, ModelTimedOut, ModelUnavailable
from .embedder import Embedder

logger = logging.getLogger(__name__)

PATIENCE = 2.5  # seconds that a search waits for its vector, from when it is asked for
AWAY_SECONDS = 30.0  # in which an embedder that was away is not asked again; then one search asks
_RETRIES = 0.6  # seconds: a connection that the endpoint has dropped is worth a second attempt, an outage is none
_LASTING = (ModelUnavailable, ModelDenied, DimensionMismatch)  # true of any query; others are about this text

Vector = NDArray[np.float32]


class QueryEmbedder:
    """Thread-safe; one for the process."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._lock = threading.Lock()
        self._away: ModelError | None = None
        self._again = 0.0  # time.monotonic() from which one that is away is asked again

    def ask(self, query: str, deadline: float) -> "Asked":
        """The vector of `query`, under way. `deadline`: when its request ends, though `Asked.wait` does not last so
        long."""
        with self._lock:
            if self._away and time.monotonic() < self._again:
                return Asked(error=self._away)
            self._again = time.monotonic() + AWAY_SECONDS  # if it was away, this one probes and the others go on
        asked = Asked()
        threading.Thread(target=self._run, args=(asked, query, deadline), name="embed-query", daemon=True).start()
        return asked

    def wait(self, asked: "Asked", deadline: float) -> Vector:
        """The vector, unless it takes too long from the request on. Raises a ModelError."""
        asked.sent.wait(max(0.0, deadline - time.monotonic()))
        if not asked.done.wait(max(0.0, min(PATIENCE, deadline - time.monotonic()))):
            late = ModelTimedOut("The embedder did not answer in time", setting="OPENAI_BASE_URL")
            with self._lock:
                if not asked.done.is_set():
                    self._note(late)
                    raise late
        if asked.error is not None:
            raise asked.error
        assert asked.vector is not None  # noqa: S101 - for the type checker
        return asked.vector

    def _run(self, asked: "Asked", query: str, deadline: float) -> None:
        try:
            self.embedder.prepare()
            asked.sent.set()
            vector, error = self.embedder.embed([query], deadline=deadline, retries=_RETRIES)[0], None
        except Exception as e:
            vector, error = None, e
        with self._lock:
            self._note(error)
            asked.finish(vector, error)

    def _note(self, error: Exception | None) -> None:
        if error is None or not isinstance(error, _LASTING):
            self._away = None
            return
        if self._away is None:
            logger.warning("searches go by words alone for now: %s", error)
        self._away, self._again = error, time.monotonic() + AWAY_SECONDS


class Asked:
    """One question to the embedder: done with a vector or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent = threading.Event()  # what is imported for the first request of a process is no fault of the embedder
        self.done = threading.Event()
        self.vector: Vector | None = None
        self.error: Exception | None = None
        if error is not None:
            self.finish(None, error)

    def finish(self, vector: Vector | None, error: Exception | None) -> None:
        self.vector, self.error = vector, error
        self.sent.set()
        self.done.set()
