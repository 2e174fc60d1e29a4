"""Memories whose text the embedder refuses: stored without a vector, found by their words, and not asked about again.

The mark in the metadata names the model and the text: with another of either, the embedder is asked anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..store.model import Memory, text_hash
from .models.embedder import AddEmbedder, Embedder
from .unit_of_work import UnitOfWork

_MARK = "no_vector"


def is_refused(memory: Memory, model: str) -> bool:
    """Whether `model` was asked for this text's vector and refused it."""
    return memory.metadata.get(_MARK) == _name(memory.text, model)


def as_refused(memory: Memory, model: str) -> Memory:
    """`memory`, marked as one whose text `model` refuses."""
    return replace(memory, metadata={**memory.metadata, **_mark(memory.text, model)})


def marked(unit: UnitOfWork, embedder: Embedder | None) -> UnitOfWork:
    """`unit`, in which the texts that the embedder refused are marked as such."""
    if isinstance(embedder, AddEmbedder):
        for text, why in embedder.without.items():
            if why is not None:
                unit.annotate(text, _mark(text, embedder.model))
    return unit


def without_vector(unit: UnitOfWork, embedder: Embedder | None) -> Sequence[str]:
    """What to tell about the memories of `unit` that the embedder gave no vector; at most one sentence."""
    if not isinstance(embedder, AddEmbedder):
        return []
    texts = {c.new.text for c in unit.changes if c.new and c.event in ("ADD", "UPDATE")} & embedder.without.keys()
    if not texts:
        return []
    why = next((f": {said.rstrip('.')}" for text in texts if (said := embedder.without[text])), "")
    what = "One memory was" if len(texts) == 1 else f"{len(texts)} memories were"
    return [f"{what} stored without a vector, and will be found by words only: the embedder refused the text{why}."]


def _mark(text: str, model: str) -> Mapping[str, Any]:
    return {_MARK: _name(text, model)}


def _name(text: str, model: str) -> str:
    return f"{model} {text_hash(text)[:12]}"
