"""Texts to vectors, in batches that every vendor takes, checked against the configured dimension."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionMismatch, ModelError, ModelNonsense
from .endpoint import RETRY_SECONDS, Endpoint, Refused, understood

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

BATCH = 10  # DashScope's limit for text-embedding-v3 and v4; others take more, but none fewer
_LONGEST = 6_000  # characters embedded of one text: models read 8,192 tokens at most, and a CJK character is about one
_SHORTEST = 400  # below the 512 tokens of the smallest embedding models
_SETTING = "EMBEDDER_MODEL"


class Embedder:
    """Thread-safe. Builds and imports nothing before the first call."""

    def __init__(self, endpoint: Endpoint, model: str, dimension: int) -> None:
        self.model = model
        self._endpoint = endpoint
        self._dimension = dimension
        self._sends_dimension = True
        self._longest = _LONGEST

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = RETRY_SECONDS) -> NDArray[np.float32]:
        """len(texts) x dimension, L2-normalised rows, in order. `deadline` is a time.monotonic() value, `retries` the
        seconds in which a failed attempt is repeated.

        A text longer than the model reads is embedded by its beginning. Raises DimensionMismatch or a ModelError.
        """
        batches = [self._batch(texts[i : i + BATCH], deadline, retries) for i in range(0, len(texts), BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, self._dimension), np.float32)

    def _batch(self, texts: Sequence[str], deadline: float, retries: float) -> NDArray[np.float32]:
        while True:
            sends, longest = self._sends_dimension, self._longest
            try:
                request = partial(self._ask, sends, [text[:longest] for text in texts])
                rows = self._endpoint.call("The embedder", _SETTING, request, deadline, retries)
            except Refused as refusal:
                self._adapt(refusal, sends, longest)
            else:
                return self._checked(rows, len(texts))

    def _ask(self, sends: bool, texts: list[str], client: "openai.OpenAI", timeout: float) -> list[NDArray[np.float64]]:
        import openai

        reply = client.embeddings.create(
            model=self.model,
            input=texts,
            encoding_format="float",  # spelled out: the SDK's default is base64, which not every endpoint knows
            dimensions=self._dimension if sends else openai.omit,
            timeout=timeout,
        )
        rows = understood(reply, "The embedder", "data").data
        rows = sorted(rows, key=lambda row: row.index or 0)  # some leave the index out
        return [np.asarray(list(row.embedding), np.float64) for row in rows]

    def _adapt(self, refusal: Refused, sends: bool, longest: int) -> None:
        said = str(refusal)
        if sends and ("dimension" in said or "matryoshka" in said):
            self._sends_dimension = False  # the model may have but one size; whether it is ours is checked then
        elif longest > _SHORTEST and any(w in said for w in ("length", "token", "too long", "maximum context")):
            self._longest = max(_SHORTEST, longest // 3)
        else:
            raise ModelError(f"The embedder refused the request: {refusal.detail}", setting=_SETTING) from None
        logger.info("the embedder refused: dimension sent %s, longest text %d", self._sends_dimension, self._longest)

    def _checked(self, rows: list[NDArray[np.float64]], n: int) -> NDArray[np.float32]:
        if len(rows) != n:
            raise ModelNonsense(f"The embedder gave {len(rows)} vectors for {n} texts", setting=_SETTING)
        sizes = {len(row) for row in rows}
        if sizes != {self._dimension}:
            size = ", ".join(map(str, sorted(sizes)))
            raise DimensionMismatch(
                f"{self.model} gives vectors of {size} numbers, but {self._dimension} are configured: set "
                f"TABLESTORE_VECTOR_DIMENSION={size}, or another EMBEDDER_MODEL. Nothing was stored",
                setting="TABLESTORE_VECTOR_DIMENSION",
            )
        matrix = np.stack(rows)
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ModelNonsense("The embedder gave a vector without a direction", setting=_SETTING)
        return np.asarray(matrix / lengths, np.float32)
