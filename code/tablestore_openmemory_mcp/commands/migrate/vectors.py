"""Vectors for what is taken over. The old rows do not name their model: a sample is embedded again and compared."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import ModelError
from ...memory.models.embedder import Embedder, row
from ...memory.unembeddable import as_refused
from ...store.legacy.row import LegacyRow
from ...store.model import Memory

SAMPLE = 20  # rows; spread over time, so that a change of the model is noticed
AGREES = 0.99  # cosine of each; vendors' answers to the same text differ in the fifth digit
_SECONDS = 120.0  # for the texts of one commit


class Vectors:
    """`reuse`: whether the old vectors are taken; None until `judge` was called. `verdict`: that in a sentence."""

    def __init__(self, embedder: Embedder | None, *, re_embed: bool) -> None:
        self._embedder = embedder
        self._re_embed = re_embed
        self.reuse: bool | None = None
        self.verdict = ""

    def judge(self, rows: Sequence[LegacyRow], *, strict: bool) -> None:
        """Look at a sample of `rows`. With `strict` raises a ModelError if the embedder is away."""
        self.reuse = False
        if self._embedder is None:
            self.verdict = (
                "no embedder is configured, so none are stored: memories are found by their words, and get vectors as "
                "searches come by once there is one (see EMBEDDER_MODEL)"
            )
        elif self._re_embed:
            self.verdict = f"every text is embedded anew by {self._embedder.model}, as --re-embed asks"
        elif not (sample := _sample([r for r in rows if self._fits(r)])):
            self.verdict = f"every text is embedded by {self._embedder.model}: the old table has no vectors of its size"
        else:
            self._compare(self._embedder, sample, strict=strict)

    def takes(self, row: LegacyRow) -> bool:
        """Whether the row's own vector will do."""
        return bool(self.reuse) and self._fits(row)

    @property
    def embeds(self) -> bool:
        return self._embedder is not None

    @property
    def model(self) -> str | None:
        return self._embedder.model if self._embedder else None

    @property
    def dimension(self) -> int:
        return self._embedder.dimension if self._embedder else 0

    def embedded(self, memories: Sequence[Memory]) -> list[Memory]:
        """`memories`, those without a vector with one; a text that the embedder refuses is marked. Raises a
        ModelError."""
        bare = [i for i, m in enumerate(memories) if m.vector is None]
        done = list(memories)
        if self._embedder is None or not bare:
            return done
        texts = [memories[i].text for i in bare]
        made = self._embedder.embed_each(texts, deadline=time.monotonic() + _SECONDS)
        for n, i in enumerate(bare):
            vector = row(made.vectors, n)
            if vector is not None:
                done[i] = replace(memories[i], vector=vector, vector_model=self._embedder.model)
            elif n in made.refused:
                done[i] = as_refused(memories[i], self._embedder.model)
        return done

    def _fits(self, row: LegacyRow) -> bool:
        return row.vector is not None and len(row.vector) == self.dimension

    def _compare(self, embedder: Embedder, sample: Sequence[LegacyRow], *, strict: bool) -> None:
        texts = [(r.text or "").replace("\n", " ") for r in sample]  # as Mem0 0.1 embedded them
        try:
            made = embedder.embed_each(texts, deadline=time.monotonic() + _SECONDS)
        except ModelError as e:
            if strict:
                raise
            self.verdict = f"could not be compared with {embedder.model}'s: {e}"
            return
        old = np.stack([r.vector for r in sample if r.vector is not None])
        cosines = np.einsum("ij,ij->i", old, made.vectors)
        cosines = cosines[~np.isnan(cosines)]
        agreeing = int((cosines >= AGREES).sum())
        self.reuse = 0 < agreeing == len(cosines)
        told = f"{agreeing} of {len(cosines)} in a sample are those that {embedder.model} gives today"
        self.verdict = f"{told}: they are taken over" if self.reuse else f"{told}: every text is embedded anew"


def _sample(rows: Sequence[LegacyRow]) -> list[LegacyRow]:
    """Evenly by age. The rows' ids are random, so the first page of the table is of all ages."""
    aged = sorted((r for r in rows if r.text and r.text.strip()), key=lambda r: r.updated_at or r.created_at or 0)
    if len(aged) <= SAMPLE:
        return aged
    return [aged[round(i * (len(aged) - 1) / (SAMPLE - 1))] for i in range(SAMPLE)]
