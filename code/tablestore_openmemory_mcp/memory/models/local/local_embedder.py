"""An embedder in this process, which loads beside everything else: a search never waits long for it."""

import logging
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelDenied, ModelError, ModelTimedOut
from ..embedder import BATCH, Embedded, Embedder
from .library import Encode, Library

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that a search waits for a model that is being loaded
_SETTING = "EMBEDDER"


class StillLoading(ModelError):
    """The model is not there yet. It says nothing of the next search, so it is no ModelUnavailable."""

    retry = True


class LocalEmbedder(Embedder):
    """Thread-safe. Imports and loads nothing before `begin_loading`, or the first text."""

    def __init__(self, library: Library) -> None:
        self.model = library.model
        self.dimension = library.dimension
        self._library = library
        self._lock = threading.Lock()
        self._loading: threading.Event | None = None  # set once it has ended, well or not
        self._encode: Encode | None = None
        self._failure: ModelError | None = None

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = 0.0) -> NDArray[np.float32]:
        """As Embedder's. Waits for the model; nothing is tried again. Raises ModelTimedOut or ModelDenied."""
        encode = self._loaded(deadline)
        made = []
        for start in range(0, len(texts), BATCH):
            if time.monotonic() > deadline:
                raise ModelTimedOut("The local embedder did not get through in time", setting=_SETTING)
            made.append(encode(texts[start : start + BATCH]))
        return np.concatenate(made) if made else np.empty((0, self.dimension), np.float32)

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        """As Embedder's; no text is refused."""
        return Embedded(self.embed(texts, deadline=deadline), {})

    def prepare(self) -> None:
        """Wait for the model for a moment. Raises StillLoading, or ModelDenied if it cannot be loaded."""
        try:
            self._loaded(time.monotonic() + PATIENCE)
        except ModelTimedOut:
            raise StillLoading("The local embedder is still being loaded") from None

    def close(self) -> None:
        """Nothing is held that others could want."""

    def begin_loading(self) -> None:
        """Load on a thread of its own, unless that was begun. After a failure it is tried again."""
        with self._lock:
            if self._encode is None and (self._loading is None or self._loading.is_set()):
                self._loading = threading.Event()
                threading.Thread(target=self._load, args=(self._loading,), name="load-embedder", daemon=True).start()

    def _loaded(self, deadline: float) -> Encode:
        if self._encode is None:
            self.begin_loading()
            loading = self._loading
            if loading is not None and not loading.wait(max(0.0, deadline - time.monotonic())):
                raise ModelTimedOut("The local embedder was not loaded in time", setting=_SETTING)
        if self._encode is None:
            raise self._failure or ModelDenied("The local embedder cannot be loaded", setting=_SETTING)
        return self._encode

    def _load(self, done: threading.Event) -> None:
        began = time.monotonic()
        try:
            self._encode = self._library.load()
            logger.info("the local embedder is there after %.1f s", time.monotonic() - began)
        except Exception as e:
            logger.exception("the local embedder cannot be loaded")
            name = type(e).__name__
            self._failure = ModelDenied(f"The local embedder cannot be loaded ({name})", setting=_SETTING)
        finally:
            done.set()
