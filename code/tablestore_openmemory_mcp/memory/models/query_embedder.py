"""A query's vector, if the embedder gives it soon: a search can do without, by words.

Queries that come together travel together: a request costs time here and counts against the vendor's rate limit,
however short it is. Few are under way at a time, on a few threads. A query that finds none under way goes at once.

An embedder that is away is remembered for a while, so that not every search waits for it. What was asked goes on in the
background: a local model that takes its time to load is there for the next search.
"""

import contextlib
import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionMismatch, ModelDenied, ModelError, ModelTimedOut, ModelUnavailable
from .embedder import BATCH, Embedder

logger = logging.getLogger(__name__)

PATIENCE = 2.5  # seconds that a search waits for its vector, from when it is asked for
AWAY_SECONDS = 30.0  # in which an embedder that was away is not asked again; then one search asks
REQUESTS = 4  # under way at a time
LINGER = 0.01  # seconds that a query waits for company while another request is under way
CACHED_BYTES = 8 * 2**20  # of vectors of queries: 1,300 of 1,536 numbers
_RETRIES = 0.6  # seconds: a connection that the endpoint has dropped is worth a second attempt, an outage is none
_LASTING = (ModelUnavailable, ModelDenied, DimensionMismatch)  # true of any query; others are about this text
_UNUSED = 30.0  # seconds after which a thread without work ends
_OVERHEAD = 300  # bytes that a cached vector takes beside its numbers

Vector = NDArray[np.float32]


class Asked:
    """One question to the embedder: done with a vector or an error. Shared by all who ask the same at the time."""

    def __init__(self, query: str, deadline: float = 0.0) -> None:
        """`deadline`: when its request ends."""
        self.query = query
        self.deadline = deadline
        self.since = time.monotonic()
        self.suspects: Sequence[Asked] = ()  # the batch that failed with it in it: it is asked alone now
        self.done = threading.Event()
        self.vector: Vector | None = None
        self.error: Exception | None = None

    def finish(self, vector: Vector | None, error: Exception | None) -> None:
        self.vector, self.error = vector, error
        self.done.set()


class QueryEmbedder:
    """Thread-safe; one for the process."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._changed = threading.Condition()
        self._known = _Vectors(CACHED_BYTES)
        self._asked: dict[str, Asked] = {}  # what waits or is under way
        self._waiting: deque[Asked] = deque()
        self._most = BATCH  # queries in a request
        self._threads = 0
        self._unoccupied = 0  # of the threads
        self._under_way = 0  # requests
        self._prepared = threading.Event()
        self._closed = False
        self._away: ModelError | None = None
        self._again = 0.0  # time.monotonic() from which one that is away is asked again

    def ask(self, query: str, deadline: float) -> Asked:
        """The vector of `query`, under way or known. `deadline`: when its request ends, though `wait` does not last so
        long."""
        with self._changed:
            asked = Asked(query, deadline)
            if (known := self._known.get(self.embedder.model, query)) is not None:
                asked.finish(known, None)
                return asked
            if self._away and asked.since < self._again:
                asked.finish(None, self._away)
                return asked
            same = self._asked.get(query)
            if same and asked.since - same.since < PATIENCE:
                return same
            self._again = asked.since + AWAY_SECONDS  # if it was away, this one probes and the others go on
            self._staff()
            self._asked[query] = asked
            self._waiting.append(asked)
            return asked

    def wait(self, asked: Asked, deadline: float) -> Vector:
        """The vector, unless it takes too long from now on. Raises a ModelError."""
        if not asked.done.is_set():
            # What is imported for the first request of a process is no fault of the embedder.
            self._prepared.wait(max(0.0, deadline - time.monotonic()))
        if not asked.done.wait(max(0.0, min(PATIENCE, deadline - time.monotonic()))):
            with self._changed:
                if not asked.done.is_set():
                    late = ModelTimedOut("The embedder did not answer in time", setting="OPENAI_BASE_URL")
                    self._note(late)
                    raise late
        if asked.error is not None:
            raise asked.error.with_traceback(None)  # it is raised to many, and would collect what each was doing
        assert asked.vector is not None  # noqa: S101 - for the type checker
        return asked.vector

    def close(self) -> None:
        """Let the threads end as soon as they have no work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _staff(self) -> None:
        """See that a thread looks after what waits, if one is free or may be had."""
        if self._unoccupied:
            self._changed.notify()
        elif self._threads < REQUESTS:
            # Where no thread can be had, the others do it; if there are none, the search fails.
            with contextlib.suppress(*((RuntimeError,) if self._threads else ())):
                threading.Thread(target=self._work, name="embed-query", daemon=True).start()
                self._threads += 1

    def _work(self) -> None:
        while batch := self._next():
            self._embed(batch)

    def _next(self) -> Sequence[Asked]:
        """What to ask for now; nothing if there was nothing for long: then the thread ends."""
        with self._changed:
            self._unoccupied += 1
            unused = time.monotonic() + _UNUSED
            while not (batch := self._due()) and (self._waiting or not self._closed):
                until = self._waiting[0].since + LINGER if self._waiting else unused
                if not self._changed.wait(max(0.0, until - time.monotonic())) and not self._waiting:
                    break
            self._unoccupied -= 1
            if batch:
                self._under_way += 1
                if self._waiting:  # who asked while this thread woke up counted on it
                    self._staff()
            else:
                self._threads -= 1
            return batch

    def _due(self) -> Sequence[Asked]:
        """The queries of a request that need not wait any longer."""
        waiting = self._waiting
        if waiting and waiting[0].suspects:
            return [waiting.popleft()]
        together = len(waiting) >= self._most or not self._under_way
        if waiting and (together or time.monotonic() >= waiting[0].since + LINGER):
            return [waiting.popleft() for _ in range(min(self._most, len(waiting)))]
        return ()

    def _embed(self, batch: Sequence[Asked]) -> None:
        vectors: NDArray[np.float32] | None = None
        error: Exception | None = None
        sent = False
        try:
            try:
                self.embedder.prepare()
            finally:
                self._prepared.set()
            sent = True
            texts = [asked.query for asked in batch]
            vectors = self.embedder.embed(texts, deadline=max(a.deadline for a in batch), retries=_RETRIES)
        except Exception as e:
            error = e
        with self._changed:
            self._under_way -= 1
            if sent and error is not None and len(batch) > 1 and not isinstance(error, _LASTING):
                self._ask_each(batch)
                return
            self._note(error)
            for n, asked in enumerate(batch):
                self._finish(asked, None if vectors is None else vectors[n].copy(), error)

    def _ask_each(self, batch: Sequence[Asked]) -> None:
        """One text that an embedder refuses takes no other with it."""
        for asked in reversed(batch):
            asked.suspects = batch
            self._waiting.appendleft(asked)
        for _ in batch:
            self._staff()

    def _finish(self, asked: Asked, vector: Vector | None, error: Exception | None) -> None:
        if self._asked.get(asked.query) is asked:
            del self._asked[asked.query]
        if vector is not None:
            self._known.keep(self.embedder.model, asked.query, vector)
        asked.finish(vector, error)
        if asked.suspects and all(a.vector is not None for a in asked.suspects):  # there was nothing wrong with a text
            self._most = max(1, min(self._most, len(asked.suspects) // 2))
            logger.info("the embedder takes no %d texts at once; trying %d", len(asked.suspects), self._most)

    def _note(self, error: Exception | None) -> None:
        if error is None or not isinstance(error, _LASTING):
            self._away = None
            return
        if self._away is None:
            logger.warning("searches go by words alone for now: %s", error)
        self._away, self._again = error, time.monotonic() + AWAY_SECONDS
        while self._waiting:
            self._finish(self._waiting.popleft(), None, error)


class _Vectors:
    """Vectors of the newest queries, up to a number of bytes. Keeps no text."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._by_name: OrderedDict[bytes, Vector] = OrderedDict()

    def get(self, model: str, query: str) -> Vector | None:
        name = _name(model, query)
        if name in self._by_name:
            self._by_name.move_to_end(name)
        return self._by_name.get(name)

    def keep(self, model: str, query: str, vector: Vector) -> None:
        vector.flags.writeable = False  # many will read it
        name = _name(model, query)
        self._drop(name)
        self._by_name[name] = vector
        self._size += vector.nbytes + _OVERHEAD
        while self._size > self._most:
            self._drop(next(iter(self._by_name)))

    def _drop(self, name: bytes) -> None:
        if (vector := self._by_name.pop(name, None)) is not None:
            self._size -= vector.nbytes + _OVERHEAD


def _name(model: str, query: str) -> bytes:
    return hashlib.blake2b(f"{model}\0{query}".encode("utf-8", "surrogatepass"), digest_size=20).digest()
