"""Texts to vectors, in batches that every vendor takes, checked against the configured dimension."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionMismatch, ModelError, ModelNonsense
from .endpoint import RETRY_SECONDS, Endpoint, Refused, understood

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

BATCH = 10  # DashScope's limit for text-embedding-v3 and v4; others take more, but none fewer
_LONGEST = 6_000  # characters embedded of one text: models read 8,192 tokens at most, and a CJK character is about one
_SHORTEST = 400  # below the 512 tokens of the smallest embedding models
_SETTING = "EMBEDDER_MODEL"
_SEARCHES = 8  # more requests at most, to find which texts of a call the embedder refuses
_HARMLESS = "Good morning"  # an embedder that refuses this refuses everything


class TextRefused(ModelError):
    """The embedder does not take this text, however short (a content filter, say). `why`: its own words."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The embedder refused the request: {why}", setting=_SETTING)
        self.why = why


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors`: n x dimension; a row of NaN for each text that has none. `refused`: why, by place; a text that is not
    in it was refused with others and not asked about alone, so that it may have a vector another time."""

    vectors: NDArray[np.float32]
    refused: Mapping[int, str]

    @property
    def missing(self) -> Sequence[int]:
        """The places of the texts without a vector."""
        return np.flatnonzero(np.isnan(self.vectors).any(axis=1)).tolist()


class Embedder:
    """Thread-safe. Builds and imports nothing before the first call."""

    def __init__(self, endpoint: Endpoint, model: str, dimension: int) -> None:
        self.model = model
        self._endpoint = endpoint
        self.dimension = dimension
        self._sends_dimension = True
        self._longest = _LONGEST

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = RETRY_SECONDS) -> NDArray[np.float32]:
        """len(texts) x dimension, L2-normalised rows, in order. `deadline` is a time.monotonic() value, `retries` the
        seconds in which a failed attempt is repeated.

        A text longer than the model reads is embedded by its beginning. Raises TextRefused if it does not take one of
        them, DimensionMismatch or another ModelError.
        """
        batches = [self._batch(texts[i : i + BATCH], deadline, retries) for i in range(0, len(texts), BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, self.dimension), np.float32)

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        """As `embed`, but a text that is refused takes no other with it: all that can be embedded are.

        Raises a ModelError if nothing can: then the embedder is at fault, not a text.
        """
        search = _Search(np.full((len(texts), self.dimension), np.nan, np.float32))
        for start in range(0, len(texts), BATCH):
            self._embed_into(search, texts, range(start, min(start + BATCH, len(texts))), deadline)
        if texts and search.failure and np.isnan(search.vectors).any(axis=1).all():
            try:
                self._batch([_HARMLESS], deadline, RETRY_SECONDS)
            except TextRefused:
                raise search.failure from None
        return Embedded(search.vectors, search.refused)

    def prepare(self) -> None:
        """Import what a request needs, which may take a second. Raises a ModelError."""
        self._endpoint.prepare()

    def close(self) -> None:
        """Let go of the endpoint's connections."""
        self._endpoint.close()

    def _embed_into(self, search: "_Search", texts: Sequence[str], part: range, deadline: float) -> None:
        try:
            search.vectors[part] = self._batch([texts[i] for i in part], deadline, RETRY_SECONDS)
        except TextRefused as e:
            search.failure = e
            if len(part) == 1:
                search.refused[part[0]] = e.why
                return
            middle = len(part) // 2
            for half in (part[:middle], part[middle:]):
                if search.left:
                    search.left -= 1
                    self._embed_into(search, texts, half, deadline)

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
        # Spelled out: the SDK's default is base64, which not every endpoint knows. It would save no time here.
        body: dict[str, object] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if sends:
            body["dimensions"] = self.dimension
        reply = client.post("/embeddings", cast_to=object, body=body, options={"timeout": timeout})
        rows = understood(reply, "The embedder", "data", self._endpoint.url_setting)
        rows = sorted(rows, key=lambda row: row.get("index") or 0)  # some leave the index out
        return [_vector(row["embedding"]) for row in rows]

    def _adapt(self, refusal: Refused, sends: bool, longest: int) -> None:
        said = str(refusal)
        if sends and ("dimension" in said or "matryoshka" in said):
            self._sends_dimension = False  # the model may have but one size; whether it is ours is checked then
        elif longest > _SHORTEST and any(w in said for w in ("length", "token", "too long", "maximum context")):
            self._longest = max(_SHORTEST, longest // 3)
        else:
            raise TextRefused(refusal.detail) from None
        logger.info("the embedder refused: dimension sent %s, longest text %d", self._sends_dimension, self._longest)

    def _checked(self, rows: list[NDArray[np.float64]], n: int) -> NDArray[np.float32]:
        if len(rows) != n:
            raise ModelNonsense(f"The embedder gave {len(rows)} vectors for {n} texts", setting=_SETTING)
        sizes = {len(row) for row in rows}
        if sizes != {self.dimension}:
            size = ", ".join(map(str, sorted(sizes)))
            raise DimensionMismatch(
                f"{self.model} gives vectors of {size} numbers, but {self.dimension} are configured: set "
                f"TABLESTORE_VECTOR_DIMENSION={size}, or another EMBEDDER_MODEL. Nothing was stored",
                setting="TABLESTORE_VECTOR_DIMENSION",
            )
        matrix = np.stack(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond all bounds is refused below
            lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ModelNonsense("The embedder gave a vector without a direction", setting=_SETTING)
        return np.asarray(matrix / lengths, np.float32)


@dataclass(slots=True)
class _Search:
    """For the texts that an embedder refuses, by halves; `left`: how many more requests it may take."""

    vectors: NDArray[np.float32]
    refused: dict[int, str] = field(default_factory=dict)
    left: int = _SEARCHES
    failure: TextRefused | None = None


class AddEmbedder(Embedder):
    """An embedder as one add uses it: asks about no text twice, and remembers which ones have no vector. One thread."""

    def __init__(self, embedder: Embedder) -> None:
        self.model = embedder.model
        self.dimension = embedder.dimension
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}
        self.without: dict[str, str | None] = {}  # texts without a vector, and the embedder's reason if it gave one

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = RETRY_SECONDS) -> NDArray[np.float32]:
        """As Embedder's, with a row of NaN for a text that is refused."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            made = self._embedder.embed_each(new, deadline=deadline)
            self._known |= zip(new, made.vectors, strict=True)
            self.without |= {new[i]: made.refused.get(i) for i in made.missing}
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        return np.stack([self._known[text] for text in texts])

    def knows(self, texts: Sequence[str]) -> bool:
        """Whether `embed` would take no request for `texts`."""
        return self._known.keys() >= set(texts)

    def learn(self, texts: Sequence[str], along: Sequence[str], *, deadline: float) -> NDArray[np.float32] | None:
        """Ask about `texts`, so that `embed` knows them, and in the same request about `along`, whose vectors are the
        result. None if the embedder refuses any of it: then nothing was learnt."""
        try:
            made = self._embedder.embed([*texts, *along], deadline=deadline)
        except TextRefused:
            return None
        self._known |= zip(texts, made, strict=False)
        return made[len(texts) :]

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        vectors = self.embed(texts, deadline=deadline)
        return Embedded(vectors, {i: why for i, text in enumerate(texts) if (why := self.without.get(text))})


def _vector(numbers: object) -> NDArray[np.float64]:
    """Of what was parsed. Raises ValueError, TypeError or OverflowError if it is no list of numbers."""
    vector = np.asarray(numbers, np.float64)
    if vector.ndim != 1:
        raise ValueError("no vector")
    return vector


def row(vectors: NDArray[np.float32] | None, n: int) -> NDArray[np.float32] | None:
    """The n-th of `vectors`; None where there are none, or that text has none."""
    return None if vectors is None or np.isnan(vectors[n, 0]) else vectors[n]
