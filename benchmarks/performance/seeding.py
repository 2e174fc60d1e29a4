"""Puts memories where each of the servers would have put them, without asking a model for each."""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tablestore
from numpy.typing import NDArray

from support.emulator import connect
from support.fake_openai.vectors import embed
from tablestore_emulator.testing import Emulator
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.model import Change, Memory
from tablestore_openmemory_mcp.store.store import TablestoreStore

CLIENT = "cline"
EMBEDDER = "text-embedding-v4"
BATCH = 100
REFERENCE_BATCH = 100  # rows of 17 KB: their vectors are JSON; a request holds 4 MB

logging.getLogger("tablestore_openmemory_mcp").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Seed:
    """What one user has."""

    user: str
    texts: Sequence[str]


def ours(variables: Mapping[str, str], seeds: Sequence[Seed]) -> None:
    """Commit through the store, as an add does."""
    settings = Settings.load({**variables, "MEMORY_PIPELINE": "verbatim"})
    store = TablestoreStore.open(settings)
    try:
        for seed in seeds:
            scope = store.scope(Scope(seed.user, CLIENT))
            snapshot = scope.snapshot()
            for texts, matrix in _embedded(seed.texts, settings.tablestore_vector_dimension, BATCH):
                memories = [_memory(text, row) for text, row in zip(texts, matrix, strict=True)]
                snapshot = scope.commit([Change("ADD", m.id, m, actor=CLIENT) for m in memories], base=snapshot)
    finally:
        store.close()


def reference(emulator: Emulator, seeds: Sequence[Seed], dimension: int) -> None:
    """Write the rows of release 1.3.1, whose table it has made at its start. Raises RuntimeError if a row fails."""
    client = connect(emulator, socket_timeout=60)
    for seed in seeds:
        for texts, matrix in _embedded(seed.texts, dimension, REFERENCE_BATCH):
            request = tablestore.BatchWriteRowRequest()
            rows = [_reference_row(seed.user, text, row) for text, row in zip(texts, matrix, strict=True)]
            items = [tablestore.PutRowItem(row, tablestore.Condition("IGNORE")) for row in rows]
            request.add(tablestore.TableInBatchWriteRowItem("mem0", items))
            if not client.batch_write_row(request).is_all_succeed():
                raise RuntimeError("rows of the reference were not written")


def _embedded(texts: Sequence[str], dimension: int, batch: int) -> Iterator[tuple[Sequence[str], NDArray[np.float32]]]:
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        yield some, embed(some, dimension)


def _memory(text: str, vector: NDArray[np.float32]) -> Memory:
    now = time.time_ns() // 1_000_000
    return Memory(str(uuid.uuid4()), text, now, now, {"source_app": "openmemory"}, vector, EMBEDDER)


def _reference_row(user: str, text: str, vector: NDArray[np.float32]) -> Any:
    ident = str(uuid.uuid4())
    payload = {
        "user_id": user,
        "source_app": "openmemory",
        "mcp_client": CLIENT,
        "hash": hashlib.md5(text.encode()).hexdigest(),
        "created_at": "2026-11-01T00:00:00-07:00",
    }
    columns = [
        ("embedding", json.dumps([round(float(x), 8) for x in vector])),
        ("payload", json.dumps([f"{key}={value}" for key, value in payload.items()])),
        ("payload_source", json.dumps(payload)),
        ("text", text),
    ]
    return tablestore.Row([("document_id", ident), ("tenant_id", "__default")], columns)
