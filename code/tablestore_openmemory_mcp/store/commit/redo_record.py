"""The redo record: a whole commit in one blob, so that whoever comes next can finish it."""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LimitExceeded
from ..model import Change, Memory, Vector

MAX_BYTES = 2_000_000  # of the 2 MB (2,097,152) that a column holds
_OVERHEAD = 64  # bytes: a comma, and what zlib adds to what it cannot compress
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Redo:
    """One commit. `rev` is the `seq` it made, `at` its time (ms), `tx` its random name."""

    rev: int
    epoch: int
    at: int
    tx: str
    changes: Sequence[Change]


def nbytes(change: Change) -> int:
    """What `change` takes of MAX_BYTES at most, however badly its texts compress."""
    vectors: list[Vector] = []
    text = json.dumps(_change(change, vectors), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 4 * sum(map(len, vectors)) + _OVERHEAD


def encode_redo(redo: Redo) -> bytes:
    """Length, compressed JSON, then the float32 vectors. Raises LimitExceeded if a row cannot hold it."""
    vectors: list[Vector] = []
    changes = [_change(change, vectors) for change in redo.changes]
    header = {"rev": redo.rev, "epoch": redo.epoch, "at": redo.at, "tx": redo.tx, "changes": changes}
    text = zlib.compress(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode(), 1)
    blob = b"".join([_LENGTH.pack(len(text)), text, *(np.asarray(v, "<f4").tobytes() for v in vectors)])
    if len(blob) > MAX_BYTES:
        raise LimitExceeded(f"These {len(changes)} changes are too much for one commit: send less at once.")
    return blob


def decode_redo(blob: bytes) -> Redo:
    """The inverse of encode_redo."""
    start = _LENGTH.size + _LENGTH.unpack_from(blob)[0]
    header = json.loads(zlib.decompress(blob[_LENGTH.size : start]))
    numbers = np.frombuffer(blob, "<f4", offset=start).astype(np.float32)
    changes = []
    for given in header.pop("changes"):
        new = given.pop("new")
        if new is not None:
            size = new.pop("size")
            new["vector"], numbers = (numbers[:size], numbers[size:]) if size else (None, numbers)
        changes.append(Change(**given, new=None if new is None else Memory(**new, rev=header["rev"])))
    return Redo(**header, changes=tuple(changes))


def _change(change: Change, vectors: list[Vector]) -> dict[str, Any]:
    return {
        "event": change.event,
        "id": change.id,
        "new": _memory(change.new, vectors) if change.new else None,
        "old_text": change.old_text,
        "reason": change.reason,
        "actor": change.actor,
    }


def _memory(memory: Memory, vectors: list[Vector]) -> dict[str, Any]:
    if memory.vector is not None:
        vectors.append(memory.vector)
    return {
        "id": memory.id,
        "text": memory.text,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
        "metadata": dict(memory.metadata),
        "vector_model": memory.vector_model,
        "expires_at": memory.expires_at,
        "source": memory.source,
        "size": 0 if memory.vector is None else len(memory.vector),
    }
