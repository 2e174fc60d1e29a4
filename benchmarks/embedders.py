"""The embedder that a benchmark is run with: any OpenAI-compatible one, or MiniLM on this machine."""

import argparse
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
from minilm import MiniLM
from numpy.typing import NDArray

from tablestore_openmemory_mcp.memory.embedder import Embedder
from tablestore_openmemory_mcp.memory.endpoint import Endpoint

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_HOUR = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="minilm", help="an embedding model of OPENAI_BASE_URL, or minilm (default)")
    parser.add_argument("--dimension", type=int, default=1024, help="of that model's vectors")


def chosen(arguments: argparse.Namespace) -> Embed:
    """Texts to L2-normalised rows, by what the arguments name."""
    if arguments.model == "minilm":
        return MiniLM().embed
    endpoint = Endpoint(os.environ["OPENAI_API_KEY"], os.environ.get("OPENAI_BASE_URL"))
    embedder = Embedder(endpoint, arguments.model, arguments.dimension)
    return lambda texts: embedder.embed(texts, deadline=time.monotonic() + _HOUR)
